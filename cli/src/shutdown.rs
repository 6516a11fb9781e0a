//! When to stop: SIGTERM or SIGINT.

use tokio::signal::unix::{SignalKind, signal};

/// Listens for signals that ask the process to end, from this call on; the future waits for one. Call it before saying
/// that the process is ready, as a signal that comes earlier ends it without draining.
pub(crate) fn asked() -> impl Future<Output = ()> {
    let signals = signal(SignalKind::terminate())
        .and_then(|terminate| Ok((terminate, signal(SignalKind::interrupt())?)));
    async move {
        match signals {
            Ok((mut terminate, mut interrupt)) => tokio::select! {
                _ = terminate.recv() => tracing::info!("asked to end by SIGTERM"),
                _ = interrupt.recv() => tracing::info!("asked to end by SIGINT"),
            },
            Err(error) => {
                // Without handlers the signals end the process at once, which is what was asked for.
                tracing::error!(%error, "signals cannot be handled; nothing drains when this process is stopped");
                std::future::pending::<()>().await;
            }
        }
    }
}
