//! Runs a program of the operator's with a notice, as JSON, on its standard input.

use std::{process::Stdio, time::Duration};

use tokio::{io::AsyncWriteExt as _, process::Command, time::timeout};

use super::{Notice, Undelivered};

/// How long the program may take before it is ended.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where programs are looked for. SECURITY: nothing else of this process's environment reaches them.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Runs it to its end. There is no shell, and nothing of the notice is among its arguments.
pub(super) async fn run(argv: &[String], notice: &Notice) -> Result<(), Undelivered> {
    let ended = timeout(PATIENCE, to_its_end(argv, notice)).await;
    match ended {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(Undelivered::Unreached("the program failed".to_owned())),
        Ok(Err(error)) => Err(Undelivered::Unreached(format!(
            "the program did not run: {}",
            error.kind()
        ))),
        Err(_late) => Err(Undelivered::Unreached(
            "the program took too long".to_owned(),
        )),
    }
}

async fn to_its_end(argv: &[String], notice: &Notice) -> std::io::Result<bool> {
    let (program, arguments) = argv.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut text = serde_json::to_vec(notice)?;
    text.push(b'\n');
    if let Some(mut input) = child.stdin.take() {
        // A program that does not read it may still do what it is for.
        if let Err(error) = input.write_all(&text).await {
            tracing::debug!(%error, "a program did not read its notice");
        }
    }
    child.wait().await.map(|status| status.success())
}
