//! Signals that this process gets are the command's.

use exeat_sandbox::{Signal, Signals};
use tokio::signal::unix::{SignalKind, signal};

/// Passes signals on from a thread of its own, which ends with the process.
pub(super) fn pass(signals: Signals) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
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
