//! Starts a command in a sandbox that the gate serves. `exeat doctor` goes the same way, so that it tests what runs.

use std::{
    ffi::OsString,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail};
use exeat_policy::Depends;
use exeat_sandbox::{
    Access, BUNDLE, FILES, Listeners, Plan, Running, Sandbox, Streams, account_home, scrub,
    sockets, state_folders, variables,
};
use exeat_types::{AgentId, Timestamp};

use super::{keys, signing};
use crate::{
    env,
    folder::DataFolder,
    settings::{Anchor, Settings, read_sources},
    socket::{Attach, Attached, Client, Failure, Hold, Replies, Request, connect_or_start},
};

/// What to run, who it is and how it is held.
pub(in crate::commands) struct Sealing<'a> {
    /// The configuration.
    pub(in crate::commands) settings: &'a Settings,
    /// Where the gate is.
    pub(in crate::commands) folder: &'a DataFolder,
    /// Who the command is.
    pub(in crate::commands) agent: AgentId,
    /// How it is held.
    pub(in crate::commands) hold: Hold,
    /// The command and its arguments.
    pub(in crate::commands) argv: Vec<OsString>,
    /// The environment that it would have outside. Credentials are taken out, what it needs inside is added.
    pub(in crate::commands) env: Vec<(OsString, OsString)>,
    /// The folder it begins in.
    pub(in crate::commands) workdir: PathBuf,
    /// Its input and output.
    pub(in crate::commands) streams: Streams,
    /// What it may change besides its project and its own state.
    pub(in crate::commands) write: Vec<PathBuf>,
}

/// A command that runs.
pub(in crate::commands) struct Sealed {
    /// The command itself.
    pub(in crate::commands) running: Running,
    /// The gate serves the sandbox as long as this lives.
    pub(in crate::commands) served: Replies,
    /// The variables that hold placeholders.
    pub(in crate::commands) variables: Vec<String>,
    /// Until when the agent is observed, if it is.
    pub(in crate::commands) observed_until: Option<Timestamp>,
}

/// Starts the command, and a gate if none runs.
///
/// # Errors
/// When the system refuses a sandbox, the gate refuses to serve it, or the command does not start.
pub(in crate::commands) fn seal(sealing: Sealing<'_>) -> anyhow::Result<Sealed> {
    let Sealing {
        settings, folder, ..
    } = sealing;
    let config = std::path::absolute(&settings.file).context("cannot find the configuration")?;
    let mut gate = vec![OsString::from("--config"), config.into_os_string()];
    if let Some(rules) = &settings.rules_named {
        gate.extend(["--policy".into(), rules.clone().into_os_string()]);
    }
    let home = sealing.env.iter().find(|(name, _)| name == "HOME");
    let home = home.map(|(_, home)| PathBuf::from(home));
    let home = home.filter(|home| home.is_absolute()).or_else(account_home);
    if home.is_none() && sealing.hold == Hold::Strict {
        bail!("no home folder is known, so its credentials could not be covered; set `HOME`");
    }
    let sealing_env = sealing.env.clone();
    let plan = Plan {
        hide: hidden(&sealing, home.as_deref())?,
        access: access(&sealing, home)?,
        argv: sealing.argv,
        env: withheld(sealing.env),
        workdir: sealing.workdir,
        exe: PathBuf::from("/proc/self/exe"),
        streams: sealing.streams,
    };
    let (listeners, prepared) = Sandbox::start(plan)?;
    let attach = Attach {
        agent: sealing.agent,
        hold: sealing.hold,
        policy: std::path::absolute(&settings.policy.file).context("cannot find the rules")?,
        http: listeners.http.len(),
        https: listeners.https.len(),
    };
    let (attached, served) = serve(folder, &gate, &attach, &listeners)?;
    drop(listeners);
    let [root, store] = ["root.pem", "truststore.p12"].map(|name| Path::new(FILES).join(name));
    let bundle = PathBuf::from(BUNDLE);
    let mut inside = variables(&root, &bundle, &store);
    let placeholders: Vec<String> = attached.variables.keys().cloned().collect();
    inside.extend(
        attached
            .variables
            .into_iter()
            .map(|(name, value)| (name.into(), value.into())),
    );
    let signing = signing::inside(&attached.signing, &sealing_env)?;
    inside.extend(signing.env);
    let mut files = vec![
        (store, exeat_ca::trust_store(&attached.bundle_pem)?),
        (root, attached.root_pem.into_bytes()),
        (bundle, attached.bundle_pem.into_bytes()),
    ];
    files.extend(signing.files);
    Ok(Sealed {
        running: prepared.go(inside, files)?,
        served,
        variables: placeholders,
        observed_until: attached.observed_until,
    })
}

/// Has a sandbox served by the gate, which is started if need be. One that ends at this very moment is replaced.
fn serve(
    folder: &DataFolder,
    gate: &[OsString],
    attach: &Attach,
    listeners: &Listeners,
) -> anyhow::Result<(Attached, Replies)> {
    let ask = |client: Client| {
        let request = Request::Attach(attach.clone());
        let mut replies = client.ask(&request, &descriptors(listeners))?;
        let attached = replies
            .next()
            .ok_or_else(|| anyhow!("the gate does not serve the sandbox"))??;
        let attached = serde_json::from_value(attached).context("cannot read the gate's answer")?;
        anyhow::Ok((attached, replies))
    };
    match ask(connect_or_start(folder, gate)?) {
        Err(error) if error.downcast_ref::<Failure>().is_none() => {
            tracing::debug!(%error, "the gate went away; trying once more");
            ask(connect_or_start(folder, gate)?)
        }
        other => other,
    }
}

/// The project is the whole repository that the command begins in, or just its folder. A home folder that is kept in a
/// repository is nobody's project.
fn access(sealing: &Sealing<'_>, home: Option<PathBuf>) -> anyhow::Result<Access> {
    let workdir = &sealing.workdir;
    let account = account_home();
    let is_home = |folder: &Path| {
        [&home, &account]
            .into_iter()
            .flatten()
            .any(|it| it == folder)
    };
    let project = workdir
        .ancestors()
        .take_while(|folder| !is_home(folder))
        .find(|folder| folder.join(".git").exists())
        .unwrap_or(workdir);
    let absolute = |path: &PathBuf| {
        std::path::absolute(workdir.join(path))
            .with_context(|| format!("cannot find `{}`", path.display()))
    };
    let mut write: Vec<PathBuf> = sealing
        .write
        .iter()
        .map(absolute)
        .collect::<Result<_, _>>()?;
    if let (Some(home), Some(program)) = (&home, sealing.argv.first()) {
        write.extend(state_folders(program, home));
    }
    Ok(Access {
        home,
        project: project.to_owned(),
        write,
        keep: deciding(sealing)?,
    })
}

/// What decides over the command. SECURITY: the gate reads its configuration again when it changes, so a command that
/// could write it would write its own rules.
fn deciding(sealing: &Sealing<'_>) -> anyhow::Result<Vec<PathBuf>> {
    let mut keep = vec![
        sealing.folder.path().to_path_buf(),
        std::env::current_exe().context("cannot find this program")?,
    ];
    let listeners = sealing.settings.listeners.iter();
    for tls in listeners.filter_map(|listener| listener.tls.as_ref()) {
        keep.extend([tls.cert.clone(), tls.key.clone()]);
        keep.extend(tls.client_ca.clone());
    }
    let settings = sealing.settings;
    let programs = depends(settings)?.programs.into_iter();
    keep.extend(programs.filter(|path| path.exists()));
    let deciding = settings.watched().into_iter();
    let deciding = deciding.chain(settings.network.roots_from.clone());
    for path in deciding.chain(journal(sealing)).chain(anchor(sealing)) {
        let path = std::path::absolute(&path);
        let path = path.context("cannot find the configuration")?;
        // What is written as a link is read where that leads.
        keep.extend(path.canonicalize().ok().filter(|real| *real != path));
        keep.push(path);
    }
    Ok(keep)
}

/// The environment without credentials, and without keys whose names do not look like it.
fn withheld(env: Vec<(OsString, OsString)>) -> Vec<(OsString, OsString)> {
    let mut env = scrub(env);
    env.retain(|(name, _)| !keys::is_key(name));
    env
}

/// What the command must not see: the gate's own state, and sockets of processes that act for the user.
fn hidden(sealing: &Sealing<'_>, home: Option<&Path>) -> anyhow::Result<Vec<PathBuf>> {
    let mut hide = vec![sealing.folder.path().to_path_buf()];
    hide.extend(journal(sealing));
    hide.extend(depends(sealing.settings)?.keys);
    // Other gates keep their things there; a gate that is soon gone also its project.
    let state = env::state_folder().filter(|state| state.exists());
    let state = state.map(|state| state.canonicalize()).transpose();
    let state = state.context("cannot find the state folder")?;
    let workdir = sealing.workdir.canonicalize();
    let workdir = workdir.context("cannot find the working folder")?;
    hide.extend(state.filter(|state| !workdir.starts_with(state)));
    hide.extend(home.map(sockets).into_iter().flatten());
    let named = |name: &str| {
        let found = sealing.env.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| PathBuf::from(value))
    };
    let runtime = ["SSH_AUTH_SOCK", "XDG_RUNTIME_DIR"]
        .into_iter()
        .filter_map(named);
    hide.extend(runtime.filter(|path| path.is_absolute() && path.exists()));
    Ok(hide)
}

/// What tools that run on this machine depend on.
fn depends(settings: &Settings) -> anyhow::Result<Depends> {
    Ok(Depends::of(&read_sources(&settings.policy)?.tools))
}

/// Where the journal is, if not where it usually is.
fn journal(sealing: &Sealing<'_>) -> Option<PathBuf> {
    let path = sealing.settings.ledger.path.as_ref()?;
    Some(sealing.folder.path().join(path))
}

/// What the gate tells its checkpoints. A file is replaced once a minute, so its folder is kept, unless the command works
/// there.
fn anchor(sealing: &Sealing<'_>) -> Vec<PathBuf> {
    match &sealing.settings.ledger.anchor {
        None => Vec::new(),
        Some(Anchor::Command(argv)) => argv
            .iter()
            .flat_map(|word| match Path::new(word).components().count() {
                1 => on_path(word),
                _ => vec![PathBuf::from(word)],
            })
            .filter_map(|path| std::path::absolute(path).ok())
            .filter(|path| path.is_file())
            .collect(),
        Some(Anchor::File(file)) => {
            let folder = file.parent().filter(|folder| {
                let shared = ["/tmp", "/var/tmp"]
                    .iter()
                    .any(|one| *folder == Path::new(one));
                !shared && !sealing.workdir.starts_with(folder)
            });
            match folder {
                Some(folder) => vec![folder.to_path_buf()],
                None => {
                    let mut fresh = file.clone().into_os_string();
                    fresh.push(".new");
                    let there = file.exists().then(|| file.clone());
                    there.into_iter().chain([PathBuf::from(fresh)]).collect()
                }
            }
        }
    }
}

/// Where a program without a folder is found.
fn on_path(program: &str) -> Vec<PathBuf> {
    let folders = env::variable("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join(program));
    found.filter(|path| path.is_file()).collect()
}

/// In the order that [`Attach`] names.
fn descriptors(listeners: &Listeners) -> Vec<BorrowedFd<'_>> {
    let mut all = vec![
        listeners.explicit.as_fd(),
        listeners.dns_udp.as_fd(),
        listeners.dns_tcp.as_fd(),
    ];
    all.extend(listeners.http.iter().map(AsFd::as_fd));
    all.extend(listeners.https.iter().map(AsFd::as_fd));
    all
}
