//! What people and programs see: data on standard output, talk on standard error, colour only on a terminal.

use std::{
    fmt,
    io::{self, BufRead as _, IsTerminal as _, PipeReader, Read as _, Write as _},
    process::ExitCode,
};

use exeat_types::{Report, Secret, limits};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde::Serialize;

use crate::{env, socket::Failure};

/// How a command ended: the exit status is public API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// 0: it did what was asked, and the answer is yes.
    Done,
    /// 1: refused or failed; the reason has been told.
    Refused,
    /// 2: it was not said what to do.
    Usage,
    /// 3: a receipt log is right as far as it goes, but nothing proves where it ends.
    Unproven,
    /// The status of the command that `exeat run` ran.
    Of(u8),
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        Self::from(match ending {
            Ending::Done => 0,
            Ending::Refused => 1,
            Ending::Usage => 2,
            Ending::Unproven => 3,
            Ending::Of(status) => status,
        })
    }
}

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// For reading.
    Text,
    /// For programs: one JSON value a line.
    Json,
}

/// Prints data, one or more whole lines.
///
/// # Errors
/// When standard output cannot be written; a reader that has gone away is not an error worth telling.
pub(crate) fn data(text: impl fmt::Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush())
}

/// Prints one value as one line of JSON.
///
/// # Errors
/// As [`data`].
pub(crate) fn json(value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string(value)?;
    data(text)
}

/// Talks to the person; what cannot be written is lost, as there is nobody to tell.
pub(crate) fn say(text: impl fmt::Display) {
    let mut err = io::stderr().lock();
    writeln!(err, "{text}").unwrap_or_default();
}

/// Tells why a command failed, with the help that came along.
pub(crate) fn failed(error: &anyhow::Error) {
    if let Some(report) = error.downcast_ref::<Report>() {
        problems(report);
        return;
    }
    let paint = Paint::on_stderr();
    say(format_args!("{}: {error:#}", paint.red("error")));
    if let Some(help) = error
        .downcast_ref::<Failure>()
        .and_then(|failure| failure.help.as_deref())
    {
        say(format_args!(" = help: {help}"));
    }
}

/// Prints a report as a compiler does.
pub(crate) fn problems(report: &Report) {
    let paint = Paint::on_stderr();
    for problem in report.problems() {
        let text = problem.to_string();
        say(text.strip_prefix("error").map_or_else(
            || text.clone(),
            |rest| format!("{}{rest}", paint.red("error")),
        ));
    }
    let count = report.problems().len();
    say(format_args!(
        "{count} {}",
        if count == 1 { "problem" } else { "problems" }
    ));
}

/// Rows under a heading, in columns as wide as they need to be.
pub(crate) fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = heading.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let paint = Paint::on_stdout();
    let mut lines = vec![paint.bold(&line(heading.to_vec()))];
    lines.extend(
        rows.iter()
            .map(|row| line(row.iter().map(String::as_str).collect())),
    );
    lines.join("\n")
}

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// For standard output.
    pub(crate) fn on_stdout() -> Self {
        Self {
            on: io::stdout().is_terminal() && env::variable("NO_COLOR").is_none(),
        }
    }

    /// For standard error.
    pub(crate) fn on_stderr() -> Self {
        Self {
            on: io::stderr().is_terminal() && env::variable("NO_COLOR").is_none(),
        }
    }

    /// What is wrong.
    pub(crate) fn red(self, text: &str) -> String {
        self.wrap("31;1", text)
    }

    /// What is right.
    pub(crate) fn green(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// What stands out.
    pub(crate) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.on {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Reads a secret: a line typed without echo at a terminal, else all of standard input, without the line end.
///
/// # Errors
/// When standard input cannot be read, or holds more than custody keeps.
pub(crate) fn read_secret(prompt: &str) -> io::Result<Secret> {
    read_quietly(prompt).map(Secret::new)
}

/// Reads a secret twice at a terminal.
///
/// # Errors
/// As [`read_secret`], and when the two differ.
pub(crate) fn read_new_secret(prompt: &str) -> io::Result<Secret> {
    let first = read_secret(prompt)?;
    let again = read_quietly(&format!("{prompt}, again"))?;
    let same = first.matches(&again);
    drop(Secret::new(again));
    if same {
        Ok(first)
    } else {
        Err(io::Error::other("the two differ"))
    }
}

/// Reads a secret as [`read_secret`] does and returns a pipe that it can be read from, once.
///
/// # Errors
/// As [`read_secret`].
pub(crate) fn secret_pipe(prompt: &str) -> io::Result<PipeReader> {
    pipe_of(read_quietly(prompt)?)
}

/// A pipe from which a secret can be read, once.
///
/// # Errors
/// When the operating system has no pipe or thread for it.
pub(crate) fn pipe_of(bytes: Vec<u8>) -> io::Result<PipeReader> {
    let (reader, mut writer) = io::pipe()?;
    // A pipe may hold less than a secret, so somebody has to keep pushing while the gate reads.
    std::thread::Builder::new().spawn(move || {
        // A gate that stops reading says why itself.
        writer.write_all(&bytes).unwrap_or_default();
        drop(Secret::new(bytes));
    })?;
    Ok(reader)
}

/// Whether somebody is there to answer a question.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks a question and returns the line that is typed, without blanks around it.
///
/// # Errors
/// When the terminal goes away, or its end is typed.
pub(crate) fn ask(question: &str) -> io::Result<String> {
    let mut err = io::stderr().lock();
    write!(err, "{question}").and_then(|()| err.flush())?;
    drop(err);
    let mut line = String::new();
    match io::stdin().lock().read_line(&mut line)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line.trim().to_owned()),
    }
}

/// Room is reserved at once, so that no copy is left behind by growing.
fn read_quietly(prompt: &str) -> io::Result<Vec<u8>> {
    let stdin = io::stdin();
    let room = limits::SECRET_BYTES_MAX.saturating_add(3);
    let mut bytes = Vec::with_capacity(room);
    let mut limited = stdin.lock().take(u64::try_from(room).unwrap_or(u64::MAX));
    if stdin.is_terminal() {
        let before = tcgetattr(&stdin)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        write!(io::stderr(), "{prompt}: ")?;
        tcsetattr(&stdin, OptionalActions::Flush, &silent)?;
        let read = limited.read_until(b'\n', &mut bytes);
        tcsetattr(&stdin, OptionalActions::Flush, &before)?;
        say("");
        read?;
    } else {
        limited.read_to_end(&mut bytes)?;
    }
    for end in [b'\n', b'\r'] {
        if bytes.last() == Some(&end) {
            bytes.pop();
        }
    }
    if bytes.len() > limits::SECRET_BYTES_MAX {
        drop(Secret::new(bytes));
        return Err(io::Error::other(format!(
            "a secret has at most {} bytes",
            limits::SECRET_BYTES_MAX
        )));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            ["a".to_owned(), "longer".to_owned()],
            ["bcd".to_owned(), String::new()],
        ];
        assert_eq!(
            table(["NAME", "WHAT"], &rows),
            "NAME  WHAT\na     longer\nbcd"
        );
    }
}
