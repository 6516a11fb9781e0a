//! `exeat run`: a command in a sandbox whose only way out is the gate.

use std::{
    ffi::OsString,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use exeat_sandbox::{
    FILES, Listeners, Plan, Sandbox, Signal, Signals, Streams, scrub, sockets, variables,
};
use tokio::signal::unix::{SignalKind, signal};

use super::{Place, agent_of};
use crate::{
    args::Run,
    env,
    folder::DataFolder,
    settings::Settings,
    socket::{Attach, Attached, Client, Failure, Replies, Request, connect_or_start},
    ui::Ending,
};

pub(super) fn run(place: &Place, order: Run) -> anyhow::Result<Ending> {
    let settings = place.settings()?;
    let agent = agent_of(&settings, order.agent.as_ref())?;
    let folder = place.folder(Some(&settings))?;
    let config = std::path::absolute(&settings.file).context("cannot find the configuration")?;
    let plan = Plan {
        argv: order.command,
        env: scrub(env::all()),
        hide: hidden(&folder, &settings),
        workdir: std::env::current_dir().context("cannot find the working folder")?,
        exe: PathBuf::from("/proc/self/exe"),
        streams: Streams::inherit()?,
    };
    let (listeners, prepared) = Sandbox::start(plan)?;
    let attach = Attach {
        agent,
        http: listeners.http.len(),
        https: listeners.https.len(),
    };
    let gate = [OsString::from("--config"), config.into_os_string()];
    // The gate serves the sandbox as long as this connection is open.
    let (attached, served) = serve(&folder, &gate, &attach, &listeners)?;
    drop(listeners);
    let (root, bundle) = (
        Path::new(FILES).join("root.pem"),
        Path::new(FILES).join("bundle.pem"),
    );
    let mut inside = variables(&root, &bundle);
    inside.extend(
        attached
            .variables
            .into_iter()
            .map(|(name, value)| (name.into(), value.into())),
    );
    let files = vec![
        (root, attached.root_pem.into_bytes()),
        (bundle, attached.bundle_pem.into_bytes()),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let running = prepared.go(inside, files)?;
    pass_signals(runtime, running.signals())?;
    let status = running.wait()?;
    drop(served);
    Ok(Ending::Of(u8::try_from(status).unwrap_or(u8::MAX)))
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

/// What the command must not see: the gate's own state, and sockets of processes that act for the user.
fn hidden(folder: &DataFolder, settings: &Settings) -> Vec<PathBuf> {
    let mut hide = vec![folder.path().to_path_buf()];
    hide.extend(
        settings
            .ledger
            .path
            .as_ref()
            .map(|path| folder.path().join(path)),
    );
    hide.extend(
        env::variable("HOME")
            .map(|home| sockets(Path::new(&home)))
            .into_iter()
            .flatten(),
    );
    let runtime = ["SSH_AUTH_SOCK", "XDG_RUNTIME_DIR"]
        .into_iter()
        .filter_map(env::variable)
        .map(PathBuf::from);
    hide.extend(runtime.filter(|path| path.is_absolute() && path.exists()));
    hide
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

/// Passes signals on from a thread of its own, which ends with the process.
fn pass_signals(runtime: tokio::runtime::Runtime, signals: Signals) -> anyhow::Result<()> {
    let guard = runtime.enter();
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut terminate = signal(SignalKind::terminate())?;
    drop(guard);
    let pass = async move {
        loop {
            let came = tokio::select! {
                _ = hangup.recv() => Signal::Hangup,
                _ = interrupt.recv() => Signal::Interrupt,
                _ = quit.recv() => Signal::Quit,
                _ = terminate.recv() => Signal::Terminate,
            };
            if let Err(error) = signals.send(came) {
                tracing::debug!(%error, "a signal was not passed on");
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || runtime.block_on(pass))?;
    Ok(())
}
