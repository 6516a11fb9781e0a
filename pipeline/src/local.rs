//! Stage 12 of a tool that is a program on this machine: it runs, and what it wrote becomes the answer.
//!
//! The road before and behind is that of every call: schema, rules, receipt; the answer is cleaned like any other. Who
//! starts the program is a [`Runner`] that the binary hands in. INVARIANT: nothing runs before its intent is durable, and
//! nothing that runs outlives its call.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use exeat_ledger::Ending;
use exeat_policy::{Exec, Local, Output, Sign, SignFormat, Stdin};
use exeat_types::{AgentId, Reason};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::{Admitted, Exchange, Gate, Last, OutgoingBody, Refusal};

/// Most of what a program said on its standard error that an agent sees, in bytes.
const STDERR_TAIL_BYTES: usize = 2048;

/// Starts programs.
#[async_trait]
pub trait Runner: Send + Sync {
    /// Runs one to its end. Dropping the future ends it and everything that it started.
    ///
    /// # Errors
    /// When it could not be started, or did not end by itself within its limits.
    async fn run(&self, job: Job) -> Result<Ran, NotRun>;
}

/// One run of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Who asked for it.
    pub agent: AgentId,
    /// The program.
    pub program: PathBuf,
    /// The words behind it.
    pub words: Vec<String>,
    /// What it reads.
    pub stdin: Bytes,
    /// How long it may take.
    pub timeout: Duration,
    /// The most it may write to its standard output, in bytes.
    pub output_max: usize,
    /// What holds it.
    pub hold: HoldOf,
}

/// What holds a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldOf {
    /// A sandbox of its own.
    Sandbox {
        /// Where it may read.
        read: Vec<PathBuf>,
        /// Where it may write.
        write: Vec<PathBuf>,
        /// Where it begins.
        workdir: Option<PathBuf>,
        /// As whom it may ask on the network; without one there is none.
        agent: Option<AgentId>,
        /// Its variables.
        env: Vec<(String, String)>,
    },
    /// None: it is the operator's own program with the operator's own key, and only what it reads comes from an agent.
    Operator {
        /// The folder with the keys of GnuPG.
        gnupg_home: Option<PathBuf>,
    },
}

/// A program that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Its exit status, or 128 and the number of a signal.
    pub status: i32,
    /// What it wrote to its standard output.
    pub stdout: Vec<u8>,
    /// The end of what it wrote to its standard error.
    pub stderr: Vec<u8>,
}

/// Why a program has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRun {
    /// It does not start; the operator reads why in the log.
    #[error("it could not be started")]
    NotStarted,
    /// It took too long and was ended.
    #[error("it took longer than it may, and was ended")]
    TookTooLong,
    /// It wrote too much and was ended.
    #[error("it wrote more than it may, and was ended")]
    WroteTooMuch,
    /// As many programs run as may.
    #[error("as many programs run already as may at one time")]
    Busy,
}

/// The answer of a program, cleaned, and the receipt that it still owes.
pub struct Here {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    exchange: Exchange,
    ending: (Ending, Option<Reason>),
}

impl Here {
    /// Closes the receipt: the answer was handed over.
    pub fn delivered(mut self) {
        let (ending, reason) = self.ending;
        self.exchange.close(ending, reason);
    }
}

impl Exchange {
    /// Whether the call is answered by a program here, and goes nowhere.
    pub fn runs_here(&self) -> bool {
        self.standing().tool().local.is_some()
    }
}

/// Runs the program of an admitted call.
///
/// # Errors
/// The reason, when there is no such program, or its answer could not be made safe to hand over. The receipt is closed.
pub async fn run_here(gate: &Gate, admitted: Admitted) -> Result<Here, Reason> {
    let Admitted {
        outgoing,
        mut exchange,
    } = admitted;
    let body = match &outgoing.body {
        OutgoingBody::Whole(body) => body.clone(),
        OutgoingBody::Absent => Bytes::new(),
        OutgoingBody::Streamed => return Err(fail(&mut exchange, Reason::Internal)),
    };
    if let Err(reason) = exchange.request_whole(&body) {
        return Err(fail(&mut exchange, reason));
    }
    let tool = Arc::clone(exchange.standing().tool());
    let Some(job) = job(&exchange, body) else {
        return Err(fail(&mut exchange, Reason::Internal));
    };
    let ran = match gate.runner() {
        Some(runner) => runner.run(job).await,
        None => Err(NotRun::NotStarted),
    };
    let answer = match (ran, &tool.local) {
        (Ok(ran), Some(local)) if ran.status == 0 => success(local, ran),
        (Ok(ran), Some(Local::Sign(_))) => {
            // What it said names keys and people: it is for the operator.
            let said = exchange.redacted(&ran.stderr);
            let said = String::from_utf8_lossy(&said);
            tracing::warn!(tool = %tool.name, status = ran.status, %said, "a signing program failed");
            Err(ended(ran.status))
        }
        (Ok(ran), _) => Err(broken(ran.status, &exchange.redacted(&ran.stderr))),
        (Err(not_run), _) => Err(not_run.to_string()),
    };
    let (status, kind, bytes, ending) = match answer {
        Ok((kind, bytes)) => (StatusCode::OK, kind, bytes, (Ending::Completed, None)),
        Err(problem) => {
            let detail = format!("`{}` failed: {problem}", tool.name);
            let reason = Reason::ToolFailed;
            let refusal = match exchange.call() {
                Some(call) => Refusal::of_call(reason, detail, call),
                None => Refusal::bare(reason, detail),
            };
            let status = StatusCode::from_u16(refusal.status());
            let ending = (Ending::UpstreamFailed, Some(reason));
            let status = status.unwrap_or(StatusCode::BAD_GATEWAY);
            (status, PROBLEM, refusal.document(), ending)
        }
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let cleaned = exchange
        .answer(status, &mut headers)
        .and_then(|()| exchange.response_chunk(&bytes, Last::Yes));
    match cleaned {
        Ok(body) => Ok(Here {
            status,
            headers,
            body,
            exchange,
            ending,
        }),
        Err(reason) => Err(fail(&mut exchange, reason)),
    }
}

const PROBLEM: &str = "application/problem+json; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";

fn fail(exchange: &mut Exchange, reason: Reason) -> Reason {
    exchange.close(Ending::UpstreamFailed, Some(reason));
    reason
}

fn job(exchange: &Exchange, body: Bytes) -> Option<Job> {
    let (tool, arguments) = (exchange.standing().tool(), exchange.standing().arguments());
    match tool.local.as_ref()? {
        Local::Exec(exec) => Some(Job {
            agent: exchange.standing().agent().clone(),
            program: exec.argv.program.clone(),
            // Judged already, with the arguments; whatever fails here runs nothing.
            words: tool.words(arguments).ok()?,
            stdin: match exec.stdin {
                Stdin::Nothing => Bytes::new(),
                Stdin::Json => tool.flat(arguments).to_string().into_bytes().into(),
                Stdin::Body => body,
            },
            timeout: exec.timeout,
            output_max: exec.output_max,
            hold: sandbox(exec),
        }),
        Local::Sign(sign) => Some(Job {
            agent: exchange.standing().agent().clone(),
            program: sign.program.clone(),
            words: signing(sign),
            stdin: body,
            timeout: sign.timeout,
            output_max: SIGNATURE_BYTES_MAX,
            hold: HoldOf::Operator {
                gnupg_home: sign.home.clone(),
            },
        }),
    }
}

fn sandbox(exec: &Exec) -> HoldOf {
    HoldOf::Sandbox {
        read: exec.read.clone(),
        write: exec.write.clone(),
        workdir: exec.workdir.clone(),
        agent: exec.agent.clone(),
        env: exec.env.clone(),
    }
}

/// No signature is longer.
const SIGNATURE_BYTES_MAX: usize = 64 * 1024;

/// The words that make a program sign its standard input. Nothing of them comes from an agent.
fn signing(sign: &Sign) -> Vec<String> {
    let words: &[&str] = match sign.format {
        SignFormat::OpenPgp => &[
            "--batch",
            "--no-tty",
            "--status-fd=2",
            "--armor",
            "--detach-sign",
            "--local-user",
        ],
        // SECURITY: the namespace is part of what is signed, so the signature is good for git and for nothing else.
        SignFormat::Ssh => &["-Y", "sign", "-n", "git", "-f"],
    };
    let key = std::iter::once(&*sign.key);
    words
        .iter()
        .copied()
        .chain(key)
        .map(str::to_owned)
        .collect()
}

/// What an agent gets from a program that ended well.
fn success(local: &Local, ran: Ran) -> Result<(&'static str, Vec<u8>), String> {
    match local {
        Local::Exec(exec) => match exec.output {
            Output::Bytes => Ok((BYTES, ran.stdout)),
            Output::Text => match str::from_utf8(&ran.stdout) {
                Ok(_) => Ok((TEXT, ran.stdout)),
                Err(_) => Err("it wrote something that is not UTF-8".to_owned()),
            },
            Output::Json => match exeat_types::unique_json(&ran.stdout) {
                Ok(_) => Ok((JSON, ran.stdout)),
                Err(_) => Err("it wrote something that is not JSON".to_owned()),
            },
        },
        Local::Sign(sign) => {
            let signature = String::from_utf8(ran.stdout);
            let signature = signature.map_err(|_cause| "it wrote no signature".to_owned())?;
            let document = json!({
                "signature": signature,
                "status": match sign.format {
                    SignFormat::OpenPgp => statuses(&ran.stderr),
                    SignFormat::Ssh => Value::Null,
                },
            });
            Ok((JSON, document.to_string().into_bytes()))
        }
    }
}

/// The lines by which GnuPG says what it did, which git wants to see. The rest of what it said names keys of others.
fn statuses(stderr: &[u8]) -> Value {
    let text = String::from_utf8_lossy(stderr);
    let made = |line: &&str| line.starts_with("[GNUPG:] SIG_CREATED ");
    text.lines()
        .filter(made)
        .collect::<Vec<_>>()
        .join("\n")
        .into()
}

fn ended(status: i32) -> String {
    format!("it ended with status {status}")
}

/// How a program failed, with the end of what it said, which is redacted already: the end of a secret is none.
fn broken(status: i32, redacted: &[u8]) -> String {
    let start = redacted.len().saturating_sub(STDERR_TAIL_BYTES);
    let tail = redacted.get(start..).unwrap_or_default();
    let said = String::from_utf8_lossy(tail);
    match said.trim() {
        "" => ended(status),
        said => format!("{} and said: {said}", ended(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec(output: Output) -> Local {
        let argv = exeat_policy::Template::parse("/bin/true".into(), &[], Default::default());
        Local::Exec(Exec {
            argv: argv.unwrap(),
            stdin: Stdin::Nothing,
            output,
            timeout: Duration::from_secs(1),
            output_max: 1,
            read: Vec::new(),
            write: Vec::new(),
            workdir: None,
            agent: None,
            env: Vec::new(),
        })
    }

    #[test]
    fn output_has_to_be_what_was_declared() {
        let ran = |stdout: &[u8]| Ran {
            status: 0,
            stdout: stdout.to_vec(),
            stderr: Vec::new(),
        };
        let kind = |output, stdout: &[u8]| {
            success(&exec(output), ran(stdout))
                .ok()
                .map(|(kind, _)| kind)
        };
        assert_eq!(kind(Output::Json, b"{\"a\": 1}\n"), Some(JSON));
        assert_eq!(kind(Output::Json, b"{\"a\": 1} {"), None);
        assert_eq!(kind(Output::Json, b"{\"a\": 1, \"a\": 2}"), None);
        assert_eq!(kind(Output::Text, b"hello"), Some(TEXT));
        assert_eq!(kind(Output::Text, b"\xff"), None);
        assert_eq!(kind(Output::Bytes, b"\xff"), Some(BYTES));
    }

    #[test]
    fn of_what_gnupg_says_only_the_signature_is_passed_on() {
        let said = b"gpg: using CANARY-key\n[GNUPG:] KEY_CONSIDERED AB 2\n[GNUPG:] SIG_CREATED D 22 8 00 1 AB\n";
        assert_eq!(statuses(said), "[GNUPG:] SIG_CREATED D 22 8 00 1 AB");
    }

    #[test]
    fn only_the_end_of_a_long_complaint_is_shown() {
        let stderr = [vec![b'x'; 9000], b"the end".to_vec()].concat();
        let told = broken(2, &stderr);
        assert!(told.len() < 2200 && told.ends_with("the end") && told.contains("status 2"));
    }
}
