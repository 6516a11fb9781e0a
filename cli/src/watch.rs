//! When to reload: SIGHUP, or a change to one of the configuration's files. What to do about it is the caller's.

use std::{path::PathBuf, time::Duration};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Editors write in several steps; a reload waits until nothing has changed for this long.
const QUIET: Duration = Duration::from_millis(200);
/// A file that never comes to rest does not put a reload off longer than this.
const QUIET_MAX: Duration = Duration::from_secs(2);

/// Listens for causes to reload, from this call on; the future calls back on each until told to stop. Without file
/// notifications, SIGHUP still reloads.
pub(crate) fn watch<F: Future<Output = ()>>(
    paths: Vec<PathBuf>,
    stop: CancellationToken,
    reload: impl Fn() -> F,
) -> impl Future<Output = ()> {
    let (sender, mut changes) = mpsc::channel(64);
    // One sender stays here, so that the channel is open even if no file is watched.
    let watcher = watcher(paths, sender.clone());
    if let Err(error) = &watcher {
        tracing::warn!(%error, "changed files are not noticed; reload with SIGHUP");
    }
    let hangup = signal(SignalKind::hangup());
    async move {
        let _open = (watcher, sender);
        let mut hangup = match hangup {
            Ok(hangup) => hangup,
            Err(error) => {
                tracing::error!(%error, "SIGHUP cannot be handled; nothing reloads");
                return stop.cancelled().await;
            }
        };
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = hangup.recv() => {}
                Some(()) = changes.recv() => settle(&mut changes).await,
            }
            reload().await;
        }
    }
}

/// Waits until nothing changes any more.
async fn settle(changes: &mut mpsc::Receiver<()>) {
    let quiet = async {
        while timeout(QUIET, changes.recv())
            .await
            .is_ok_and(|change| change.is_some())
        {}
    };
    if timeout(QUIET_MAX, quiet).await.is_err() {
        tracing::debug!("the files do not come to rest; reloading all the same");
    }
}

/// Sends a word whenever one of the files, or a file in one of the folders, was written or replaced.
fn watcher(paths: Vec<PathBuf>, sender: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let watched: Vec<PathBuf> = paths
        .into_iter()
        .map(std::path::absolute)
        .collect::<Result<_, _>>()?;
    let names = watched.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return };
        let reading = matches!(event.kind, EventKind::Access(_));
        let ours = |path: &PathBuf| names.iter().any(|name| path.starts_with(name));
        if !reading && event.paths.iter().any(ours) {
            // A full queue already holds a reason to reload.
            sender.try_send(()).unwrap_or_default();
        }
    })?;
    for path in &watched {
        // A file is watched through its folder, as editors replace files by renaming.
        let folder = if path.is_dir() {
            Some(path.as_path())
        } else {
            path.parent()
        };
        if let Some(folder) = folder.filter(|folder| folder.is_dir()) {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
        }
    }
    Ok(watcher)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn a_replaced_file_and_a_new_one_reload() {
        let place = tempfile::tempdir().unwrap();
        let (file, tools) = (place.path().join("policy.toml"), place.path().join("tools"));
        fs::write(&file, "old").unwrap();
        fs::create_dir(&tools).unwrap();
        let stop = CancellationToken::new();
        let (sender, mut reloads) = mpsc::channel(8);
        let reload = || async { sender.send(()).await.unwrap() };
        let watching = watch(vec![file.clone(), tools.clone()], stop.clone(), reload);
        let acting = async {
            fs::read(&file).unwrap();
            fs::write(place.path().join("other"), "x").unwrap();
            fs::write(place.path().join("new"), "new").unwrap();
            fs::rename(place.path().join("new"), &file).unwrap();
            reloads.recv().await.unwrap();
            fs::write(tools.join("a.toml"), "").unwrap();
            reloads.recv().await.unwrap();
            stop.cancel();
        };
        tokio::join!(watching, acting);
    }
}
