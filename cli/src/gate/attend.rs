//! What goes on beside the calls while a gate serves: its socket is answered, its files are watched, and one that nobody
//! uses ends.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{net::UnixListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Life, desk::Desk};
use crate::{
    settings::Settings,
    socket::{self, Answer, Answering},
    watch as files,
};

/// How long a gate that `exeat run` started waits for the next sandbox.
const IDLE: Duration = Duration::from_secs(5);

/// Answers the socket and reads the configuration again when it changes, until told to stop.
pub(super) fn attend(
    desk: &Arc<Desk>,
    admin: std::os::unix::net::UnixListener,
    settings: &Settings,
    (tasks, stop): (&TaskTracker, &CancellationToken),
) -> anyhow::Result<()> {
    let listener = UnixListener::from_std(admin).context("serving the gate's socket")?;
    let answering = Answering {
        answer: Arc::clone(desk) as Arc<dyn Answer>,
        held: desk.door(),
    };
    let (conversations, until) = (tasks.clone(), stop.clone());
    tasks.spawn(async move { socket::serve(listener, answering, &conversations, &until).await });
    desk.bound_requests();
    tasks.spawn(Arc::clone(desk).tend_requests(stop.clone()));
    let desk = Arc::clone(desk);
    tasks.spawn(files::watch(
        settings.watched().to_vec(),
        stop.clone(),
        move || {
            let desk = Arc::clone(&desk);
            async move { desk.reload().await }
        },
    ));
    Ok(())
}

/// Ends when a gate that lives for sandboxes has had none for a while; never otherwise.
pub(super) async fn unused(life: Life, mut count: watch::Receiver<usize>) {
    if life == Life::UntilStopped {
        std::future::pending::<()>().await;
    }
    loop {
        let idle = *count.borrow_and_update() == 0;
        let wait = if idle { IDLE } else { Duration::MAX };
        tokio::select! {
            () = tokio::time::sleep(wait) => return,
            changed = count.changed() => if changed.is_err() { return },
        }
    }
}
