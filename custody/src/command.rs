//! Runs the program of a `cmd:` reference. What it prints is the secret; what it complains is shown to nobody, since that
//! may hold the secret as well.

use std::{
    io::Read as _,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use exeat_types::{Secret, limits::SECRET_BYTES_MAX};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use zeroize::Zeroizing;

use crate::Error;

/// The longest output that is read: a secret and a line ending.
const OUTPUT_BYTES_MAX: usize = SECRET_BYTES_MAX + 2;

/// Runs the program in a process group of its own and answers what it prints, without the last line ending.
pub(crate) fn run(words: &[String], timeout: Duration) -> Result<Secret, Error> {
    let (program, arguments) = words
        .split_first()
        .map_or(("", words), |(first, rest)| (first.as_str(), rest));
    let failed = |problem: String| Error::Command {
        program: program.to_owned(),
        problem,
    };
    let mut command = Command::new(program);
    command.args(arguments).process_group(0);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command
        .spawn()
        .map_err(|problem| failed(format!("did not start: {problem}")))?;
    let printed = read(&mut child, timeout);
    if printed.is_err() {
        end(&mut child).map_err(|problem| failed(format!("could not be ended: {problem}")))?;
    }
    let status = child
        .wait()
        .map_err(|problem| failed(format!("was lost: {problem}")))?;
    let mut printed = printed.map_err(failed)?;
    if !status.success() {
        return Err(failed(ending(status)));
    }
    if printed.ends_with(b"\n") {
        printed.pop();
        if printed.ends_with(b"\r") {
            printed.pop();
        }
    }
    Ok(Secret::new(std::mem::take(&mut *printed)))
}

/// Reads all output and waits until the program has ended, but does not reap it; or says why that did not happen.
fn read(child: &mut Child, timeout: Duration) -> Result<Zeroizing<Vec<u8>>, String> {
    let lost = || "has no output".to_owned();
    let stdout = child.stdout.take().ok_or_else(lost)?;
    let id = process_id(child).ok_or_else(lost)?;
    let (sender, printed) = mpsc::sync_channel(1);
    // Nobody listens any more when the time is up; then the output is dropped.
    let reading = move || drop(sender.send(read_all(stdout, id)));
    let spawned = thread::Builder::new()
        .name("secret-command".to_owned())
        .spawn(reading);
    spawned.map_err(|problem| format!("could not be read: {problem}"))?;
    let late = |_late: mpsc::RecvTimeoutError| format!("did not end within {timeout:?}");
    printed.recv_timeout(timeout).map_err(late)?
}

fn read_all(stdout: ChildStdout, id: Pid) -> Result<Zeroizing<Vec<u8>>, String> {
    let unread = |problem: std::io::Error| format!("could not be read: {problem}");
    let most = u64::try_from(OUTPUT_BYTES_MAX)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    // Room for all at once, so that no copy is left behind by growing.
    let mut printed = Zeroizing::new(Vec::with_capacity(OUTPUT_BYTES_MAX.saturating_add(64)));
    stdout
        .take(most)
        .read_to_end(&mut printed)
        .map_err(unread)?;
    if printed.len() > OUTPUT_BYTES_MAX {
        return Err(format!("printed more than {SECRET_BYTES_MAX} bytes"));
    }
    waitid(
        WaitId::Pid(id),
        WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
    )
    .map_err(|errno| unread(errno.into()))?;
    Ok(printed)
}

/// Ends the program and what it started. It is not reaped yet, so its id still names its group.
fn end(child: &mut Child) -> std::io::Result<()> {
    match process_id(child) {
        Some(group) => Ok(kill_process_group(group, Signal::KILL)?),
        None => child.kill(),
    }
}

fn process_id(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended without success".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "the test looks at what came out")]
    fn shell(script: &str, timeout: Duration) -> Result<String, String> {
        let words = ["/bin/sh", "-c", script].map(str::to_owned);
        let secret = run(&words, timeout).map_err(|problem| problem.to_string())?;
        Ok(String::from_utf8(secret.open().to_vec()).unwrap())
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn the_output_is_the_secret_without_its_last_line_ending() {
        assert_eq!(
            shell("echo CANARY-command-1", LONG).unwrap(),
            "CANARY-command-1"
        );
        assert_eq!(
            shell("printf 'CANARY-command-2\\n\\n'", LONG).unwrap(),
            "CANARY-command-2\n"
        );
        assert_eq!(
            shell("printf 'CANARY-command-3\\r\\n'", LONG).unwrap(),
            "CANARY-command-3"
        );
        assert_eq!(
            shell("printf 'CANARY-command-4\\r'", LONG).unwrap(),
            "CANARY-command-4\r"
        );
    }

    #[test]
    fn a_failure_names_the_program_and_the_status_but_shows_no_output() {
        let problem = shell(
            "echo CANARY-command-5; echo CANARY-command-6 >&2; exit 3",
            LONG,
        )
        .unwrap_err();
        assert_eq!(problem, "command `/bin/sh` ended with status 3");
        assert_eq!(
            shell("kill -9 $$", LONG).unwrap_err(),
            "command `/bin/sh` was ended by signal 9"
        );
        let absent = run(&["/nonexistent/program".to_owned()], LONG)
            .err()
            .unwrap()
            .to_string();
        assert!(
            absent.starts_with("command `/nonexistent/program` did not start"),
            "{absent}"
        );
    }

    #[test]
    fn a_program_that_hangs_or_prints_without_end_is_ended() {
        let limit = Duration::from_millis(200);
        let hangs = shell("sleep 600", limit).unwrap_err();
        assert_eq!(hangs, "command `/bin/sh` did not end within 200ms");
        let closes = shell("exec >&-; sleep 600", limit).unwrap_err();
        assert_eq!(closes, "command `/bin/sh` did not end within 200ms");
        let endless = shell("while :; do echo CANARY-command-7; done", LONG).unwrap_err();
        assert_eq!(endless, "command `/bin/sh` printed more than 65536 bytes");
    }
}
