//! Runs the programs of tools: each in a sandbox of its own, and those that sign as the operator's own.
//!
//! It decides nothing: what runs was declared by the operator, asked for by an agent, allowed by a rule and receipted
//! before it comes here. INVARIANT: no program outlives the call that it answers.

use std::{
    ffi::OsString,
    io::{PipeReader, PipeWriter, pipe},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use async_trait::async_trait;
use exeat_pipeline::{Gate, HoldOf, Job, NotRun, Ran, Runner};
use exeat_policy::{Depends, Local, SignFormat};
use exeat_sandbox::{BUNDLE, FILES, Narrow, Running, Sandbox, Streams, ToolPlan, variables};
use exeat_types::AgentId;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::unix::pipe,
    process::Command,
    sync::oneshot,
    task::spawn_blocking,
    time::timeout,
};

use super::{
    program_walls::Walls,
    sandboxes::Sandboxes,
    tool_network::ToolNetwork,
    turns::{Turn, Turns},
};
use crate::{
    env,
    socket::{Signing, SigningFormat},
};

/// How much of a program's complaints is kept, in bytes.
const STDERR_BYTES_MAX: usize = 8 * 1024;
/// How long a sandbox may take to be made and to be taken down, besides the time of its program.
const AROUND: Duration = Duration::from_secs(30);

/// What every program finds in its environment.
const VARIABLES: [(&str, &str); 4] = [
    ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    ("HOME", "/tmp"),
    ("TMPDIR", "/tmp"),
    ("LANG", "C.UTF-8"),
];

/// What a program that signs needs of the operator's environment: to find keys, and to ask for a passphrase.
const OPERATOR_VARIABLES: [&str; 12] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "GNUPGHOME",
    "GPG_TTY",
    "SSH_AUTH_SOCK",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "WAYLAND_DISPLAY",
];

/// Runs programs for one gate.
pub(crate) struct Programs {
    /// Serve the network of a program that has one.
    sandboxes: Sandboxes,
    turns: Turns,
    /// Signing waits for nothing that an agent can make long.
    turns_to_sign: Turns,
}

impl Programs {
    pub(crate) fn new(sandboxes: Sandboxes) -> Self {
        Self {
            sandboxes,
            turns: Turns::default(),
            turns_to_sign: Turns::default(),
        }
    }

    /// What the rules in force keep from a program.
    fn walls(&self) -> Walls {
        let Sandboxes { state, gate, .. } = &self.sandboxes;
        let depends = Depends::on(gate.rules().policy.tools());
        Walls::of(state, state.settings().as_ref(), depends)
    }
}

#[async_trait]
impl Runner for Programs {
    async fn run(&self, job: Job) -> Result<Ran, NotRun> {
        match job.hold.clone() {
            HoldOf::Sandbox {
                read,
                write,
                workdir,
                agent,
                env,
            } => {
                let turn = self.turns.take(&job.agent)?;
                let variables = VARIABLES.iter().map(|(name, value)| (*name, *value));
                let mut variables: Vec<(OsString, OsString)> = variables
                    .filter(|(name, _)| !env.iter().any(|(own, _)| own == name))
                    .map(|(name, value)| (name.into(), value.into()))
                    .collect();
                variables.extend(
                    env.into_iter()
                        .map(|(name, value)| (name.into(), value.into())),
                );
                let workdir = workdir.unwrap_or_else(|| PathBuf::from("/tmp"));
                let plan = Ready {
                    turn,
                    walls: self.walls(),
                    narrow: with_program(Narrow { read, write }, &job),
                    workdir,
                    env: variables,
                    served: agent.map(|agent| (agent, self.sandboxes.clone())),
                };
                sealed(job, plan).await
            }
            HoldOf::Operator { gnupg_home } => {
                let _turn = self.turns_to_sign.take(&job.agent)?;
                unsealed(job, gnupg_home).await
            }
        }
    }
}

/// The tools that sign commits, one of each form.
pub(crate) fn signing(gate: &Gate) -> Vec<Signing> {
    let rules = gate.rules();
    let mut found: Vec<Signing> = Vec::new();
    for tool in rules.policy.tools() {
        let Some(Local::Sign(sign)) = &tool.local else {
            continue;
        };
        let (format, public_key) = match sign.format {
            SignFormat::OpenPgp => (SigningFormat::Openpgp, None),
            SignFormat::Ssh => (SigningFormat::Ssh, public_key(&sign.key)),
        };
        if found.iter().all(|known| known.format != format) {
            found.push(Signing {
                format,
                url: format!("{}{}", tool.origin, tool.template),
                public_key,
            });
        }
    }
    found
}

/// The public half of an SSH key lies beside it, or is what was named when an agent of SSH has the other half.
fn public_key(file: &str) -> Option<String> {
    let beside = match file.ends_with(".pub") {
        true => file.to_owned(),
        false => format!("{file}.pub"),
    };
    let text = std::fs::read_to_string(beside).ok()?;
    // SECURITY: a private key that was named so by mistake is not handed in.
    let is_public = ["ssh-", "ecdsa-", "sk-"]
        .iter()
        .any(|kind| text.starts_with(kind));
    is_public.then_some(text)
}

/// The parts of a plan that do not come from the job.
struct Ready {
    turn: Turn,
    walls: Walls,
    narrow: Narrow,
    workdir: PathBuf,
    env: Vec<(OsString, OsString)>,
    /// As whom, and by whom, its network is served.
    served: Option<(AgentId, Sandboxes)>,
}

/// A program that does not lie where the system keeps its own is granted too.
fn with_program(mut narrow: Narrow, job: &Job) -> Narrow {
    let system = ["/usr", "/bin", "/sbin", "/lib", "/nix/store", "/gnu/store"];
    let granted = narrow.read.iter().chain(&narrow.write);
    let known = system.iter().any(|path| job.program.starts_with(path))
        || granted
            .into_iter()
            .any(|path| job.program.starts_with(path));
    if !known {
        narrow.read.push(job.program.clone());
    }
    narrow
}

fn not_started(error: &(dyn std::error::Error + 'static)) -> NotRun {
    tracing::error!(error, "the program of a tool could not be started");
    NotRun::NotStarted
}

async fn sealed(job: Job, ready: Ready) -> Result<Ran, NotRun> {
    let io = |error: std::io::Error| not_started(&error);
    let (stdin, to_stdin) = pipe().map_err(io)?;
    let (from_stdout, stdout) = pipe().map_err(io)?;
    let (from_stderr, stderr) = pipe().map_err(io)?;
    let words = job.words.iter().map(OsString::from);
    let mut plan = ToolPlan {
        argv: std::iter::once(job.program.clone().into_os_string())
            .chain(words)
            .collect(),
        env: ready.env,
        hide: Vec::new(),
        keep: Vec::new(),
        narrow: ready.narrow,
        workdir: ready.workdir,
        exe: PathBuf::from("/proc/self/exe"),
        streams: Streams {
            stdin: stdin.into(),
            stdout: stdout.into(),
            stderr: stderr.into(),
        },
    };
    // Dropping this future drops `ender`, or the channel before there is one, and either ends what was started.
    let (give, take) = oneshot::channel();
    let time = job.timeout;
    let running = spawn_blocking(move || {
        // Until the run has ended, whoever waits for it.
        let _turn = ready.turn;
        (plan.keep, plan.hide) = ready.walls.real(&plan.narrow.write);
        let (running, served) = start(plan, ready.served)?;
        let ended = match give.send(running.ender()) {
            Ok(()) => running.wait_for(time).map_err(anyhow::Error::from),
            Err(_nobody_waits) => Ok(None),
        };
        drop(served);
        ended
    });
    let ender = take.await.ok();
    let ends = (input(to_stdin), output(from_stdout), output(from_stderr));
    let (Ok(to_stdin), Ok(from_stdout), Ok(from_stderr)) = ends else {
        return Err(NotRun::NotStarted);
    };
    let talked = timeout(
        job.timeout.saturating_add(AROUND),
        talk(&job, to_stdin, from_stdout, from_stderr),
    );
    let talked = talked.await.map_err(|_elapsed| NotRun::TookTooLong)?;
    let ended = match &talked {
        Ok(_) => running.await.map_err(|error| not_started(&error))?,
        Err(_) => Ok(None),
    };
    drop(ender);
    let status = ended.map_err(|error| not_started(error.as_ref()))?;
    let (stdout, stderr) = talked?;
    let status = status.ok_or(NotRun::TookTooLong)?;
    Ok(Ran {
        status,
        stdout,
        stderr,
    })
}

/// Starts a program in its sandbox, and serves its network if it has one. Blocks.
fn start(
    plan: ToolPlan,
    served: Option<(AgentId, Sandboxes)>,
) -> anyhow::Result<(Running, Option<ToolNetwork>)> {
    let (listeners, prepared) = Sandbox::start_tool(plan)?;
    let Some((agent, sandboxes)) = served else {
        // SECURITY: closed before anything runs, so that every connection inside is refused.
        drop(listeners);
        return Ok((prepared.go(Vec::new(), Vec::new())?, None));
    };
    let network = sandboxes.serve_tool(&agent, listeners)?;
    let [root, store] = ["root.pem", "truststore.p12"].map(|name| Path::new(FILES).join(name));
    let bundle = PathBuf::from(BUNDLE);
    let env = variables(&root, &bundle, &store);
    let files = vec![
        (store, exeat_ca::trust_store(&network.bundle_pem)?),
        (root, network.root_pem.clone().into_bytes()),
        (bundle, network.bundle_pem.clone().into_bytes()),
    ];
    Ok((prepared.go(env, files)?, Some(network)))
}

async fn unsealed(job: Job, gnupg_home: Option<PathBuf>) -> Result<Ran, NotRun> {
    let mut command = Command::new(&job.program);
    command
        .args(&job.words)
        .env_clear()
        .current_dir("/")
        .process_group(0)
        .kill_on_drop(true)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for name in OPERATOR_VARIABLES {
        command.envs(env::variable(name).map(|value| (name, value)));
    }
    command.envs(gnupg_home.map(|home| ("GNUPGHOME", home)));
    let mut child = command.spawn().map_err(|error| not_started(&error))?;
    let ends = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = ends else {
        return Err(NotRun::NotStarted);
    };
    let whole = async {
        let (stdout, stderr) = talk(&job, stdin, stdout, stderr).await?;
        let status = child.wait().await.map_err(|error| not_started(&error))?;
        Ok(Ran {
            status: status.code().unwrap_or(1),
            stdout,
            stderr,
        })
    };
    let ended = timeout(job.timeout, whole).await;
    ended.unwrap_or(Err(NotRun::TookTooLong))
}

fn input(end: PipeWriter) -> std::io::Result<pipe::Sender> {
    pipe::Sender::from_owned_fd(end.into())
}

fn output(end: PipeReader) -> std::io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(end.into())
}

/// Gives a program its input, and takes its output and the end of its complaints.
async fn talk(
    job: &Job,
    mut stdin: impl AsyncWrite + Unpin,
    stdout: impl AsyncRead + Unpin,
    stderr: impl AsyncRead + Unpin,
) -> Result<(Vec<u8>, Vec<u8>), NotRun> {
    let give = async move {
        // A program that does not read its input is free not to.
        if let Err(error) = stdin.write_all(&job.stdin).await {
            tracing::debug!(%error, "a program left its input unread");
        }
        drop(stdin);
        Ok(())
    };
    let ((), stdout, stderr) = tokio::try_join!(give, all(stdout, job.output_max), end(stderr))?;
    Ok((stdout, stderr))
}

async fn all(mut from: impl AsyncRead + Unpin, most: usize) -> Result<Vec<u8>, NotRun> {
    let mut read = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let taken = (&mut from).take(limit).read_to_end(&mut read).await;
    taken.map_err(|error| not_started(&error))?;
    match read.len() > most {
        true => Err(NotRun::WroteTooMuch),
        false => Ok(read),
    }
}

async fn end(mut from: impl AsyncRead + Unpin) -> Result<Vec<u8>, NotRun> {
    let (mut kept, mut chunk) = (Vec::new(), vec![0; STDERR_BYTES_MAX]);
    let mut cut = 0;
    loop {
        let count = from.read(&mut chunk).await;
        let count = count.map_err(|error| not_started(&error))?;
        if count == 0 {
            if cut > 0 {
                // SECURITY: what the cut left of a line may be the end of a secret, which nobody would recognise.
                let whole = kept.iter().position(|byte| *byte == b'\n');
                kept.drain(..whole.map_or(kept.len(), |at| at.saturating_add(1)));
            }
            return Ok(kept);
        }
        kept.extend_from_slice(chunk.get(..count).unwrap_or_default());
        let surplus = kept.len().saturating_sub(STDERR_BYTES_MAX);
        cut = surplus.max(cut);
        kept.drain(..surplus);
    }
}
