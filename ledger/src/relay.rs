//! Records on their way from a process that handed its ledger over to the one that has it: lines over a socket, a batch
//! at a time, each record answered before the next batch goes.
//!
//! A batch is its number of records on a line, then one line for each: the kind, a space, the body. The answer to each is a
//! line: `ok` and the place, or why not. Canonical JSON has no line ends, so a body is one line.

use std::{
    collections::HashSet,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use exeat_types::{CallId, limits::JOURNAL_TIMEOUT};
use tracing::error;

use crate::{
    Error, Ledger,
    frame::RECORD_BYTES_MAX,
    queue::Pending,
    record::{Kind, Record},
    scan::Position,
};

/// How long the other process may take for a batch; it gives up on the disk before that.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(JOURNAL_TIMEOUT.as_secs() + 5);
/// Most records in a batch.
const BATCH_MAX: usize = 65_536;
/// The longest line: a record, its kind and its end.
const LINE_BYTES_MAX: u64 = RECORD_BYTES_MAX as u64 + 64;

/// The end of the process that handed over.
pub(crate) struct Relay(Option<BufReader<UnixStream>>);

impl Relay {
    pub(crate) fn new(successor: UnixStream) -> Self {
        let bounded = successor
            .set_read_timeout(Some(ANSWER_TIMEOUT))
            .and_then(|()| successor.set_write_timeout(Some(ANSWER_TIMEOUT)));
        if let Err(problem) = bounded {
            error!(error = %problem, "the gate that took over cannot be talked to");
            return Self(None);
        }
        Self(Some(BufReader::new(successor)))
    }

    /// Has a batch written there and answers every waiter. Once the other process is gone nothing is written any more.
    pub(crate) fn forward(&mut self, batch: Vec<Pending>) {
        let Some(stream) = &mut self.0 else {
            for pending in batch {
                pending.answer(Err(Error::Closed));
            }
            return;
        };
        let mut batch = batch.into_iter();
        if let Err(problem) = exchange(stream, &mut batch) {
            error!(error = %problem, "the gate that took over is gone; receipts of open calls are its to sweep");
            self.0 = None;
        }
        for pending in batch {
            pending.answer(Err(Error::Closed));
        }
    }
}

fn exchange(
    stream: &mut BufReader<UnixStream>,
    batch: &mut std::vec::IntoIter<Pending>,
) -> io::Result<()> {
    let mut text = format!("{}\n", batch.len()).into_bytes();
    for pending in batch.as_slice() {
        text.extend_from_slice(pending.item.kind.name().as_bytes());
        text.push(b' ');
        text.extend_from_slice(&pending.item.body);
        text.push(b'\n');
    }
    stream.get_mut().write_all(&text)?;
    while !batch.as_slice().is_empty() {
        let line = line(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let answer = read_answer(&String::from_utf8_lossy(&line));
        if let Some(pending) = batch.next() {
            pending.answer(answer);
        }
    }
    Ok(())
}

/// The end of the process that took over: writes what comes until the other one closes, and keeps count of the calls
/// that are open there.
pub(crate) fn write_for(
    ledger: &Ledger,
    predecessor: &UnixStream,
    open: &mut HashSet<CallId>,
) -> io::Result<()> {
    let mut lines = BufReader::new(predecessor);
    let mut out = predecessor;
    while let Some(count) = line(&mut lines)? {
        let count = std::str::from_utf8(&count)
            .ok()
            .and_then(|count| count.parse().ok())
            .filter(|count| *count <= BATCH_MAX);
        let count: usize = count.ok_or_else(|| io::Error::other("not a batch of records"))?;
        let mut promises = Vec::with_capacity(count);
        for _ in 0..count {
            let text = line(&mut lines)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let record = read_record(&text)?;
            let opens = matches!(record, Record::Intent(_)).then(|| record.call());
            let closes = matches!(record, Record::Outcome(_)).then(|| record.call());
            // A call counts as open from here on: the intent may become durable although nobody hears of it.
            open.extend(opens.flatten());
            promises.push((opens.flatten(), closes.flatten(), ledger.append(&record)));
        }
        let mut answers = Vec::new();
        for (opens, closes, promise) in promises {
            let answer = promise.wait_blocking();
            let ended = match (&answer, opens, closes) {
                (Ok(_), None, closes) => closes,
                (Err(Error::Late), ..) | (Ok(_), Some(_), _) => None,
                (Err(_), opens, _) => opens,
            };
            if let Some(call) = ended {
                open.remove(&call);
            }
            write_answer(&answer, &mut answers);
        }
        out.write_all(&answers)?;
    }
    Ok(())
}

/// One line without its end; none when the other side closed.
fn line<R: io::Read>(stream: &mut BufReader<R>) -> io::Result<Option<Vec<u8>>> {
    let mut text = Vec::new();
    stream.take(LINE_BYTES_MAX).read_until(b'\n', &mut text)?;
    match text.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(text)),
        Some(_) => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn read_record(text: &[u8]) -> io::Result<Record> {
    let wrong = || io::Error::other("not a record");
    let space = text.iter().position(|&byte| byte == b' ');
    let (kind, body) = space
        .and_then(|at| text.split_at_checked(at))
        .ok_or_else(wrong)?;
    let kind = Kind::from_name(kind).ok_or_else(wrong)?;
    let body = body.get(1..).unwrap_or_default();
    Record::read(kind, body).map_err(io::Error::other)
}

fn write_answer(answer: &Result<Position, Error>, out: &mut Vec<u8>) {
    let text = match answer {
        Ok(at) => format!("ok {} {} {}", at.segment, at.offset, at.seq),
        Err(Error::ApprovalUnusable) => "approval".to_owned(),
        Err(Error::BudgetExhausted { budget }) => format!("budget {budget}"),
        Err(Error::AlreadyKnown) => "known".to_owned(),
        Err(Error::NotOpen) => "not-open".to_owned(),
        Err(Error::FamilyConflict) => "family".to_owned(),
        Err(Error::Busy) => "busy".to_owned(),
        Err(Error::Late) => "late".to_owned(),
        Err(other) => format!("no {other}"),
    };
    out.extend(
        text.bytes()
            .map(|byte| if byte == b'\n' { b' ' } else { byte }),
    );
    out.push(b'\n');
}

fn read_answer(text: &str) -> Result<Position, Error> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let problem = || Error::Successor {
        problem: rest.to_owned(),
    };
    match word {
        "ok" => {
            let mut numbers = rest.split(' ').map(str::parse::<u64>);
            let mut next = || numbers.next()?.ok();
            let segment = next().and_then(|segment| u32::try_from(segment).ok());
            let (Some(segment), Some(offset), Some(seq)) = (segment, next(), next()) else {
                return Err(problem());
            };
            Ok(Position {
                segment,
                offset,
                seq,
            })
        }
        "approval" => Err(Error::ApprovalUnusable),
        "budget" => Err(Error::BudgetExhausted {
            budget: rest.to_owned(),
        }),
        "known" => Err(Error::AlreadyKnown),
        "not-open" => Err(Error::NotOpen),
        "family" => Err(Error::FamilyConflict),
        "busy" => Err(Error::Busy),
        "late" => Err(Error::Late),
        _ => Err(problem()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_the_same_on_both_sides() {
        let at = Position {
            segment: 3,
            offset: 4096,
            seq: 17,
        };
        let mut out = Vec::new();
        write_answer(&Ok(at), &mut out);
        assert_eq!(out, b"ok 3 4096 17\n");
        assert_eq!(read_answer("ok 3 4096 17").unwrap(), at);
        for error in [
            Error::ApprovalUnusable,
            Error::BudgetExhausted {
                budget: "one two".to_owned(),
            },
            Error::AlreadyKnown,
            Error::NotOpen,
            Error::FamilyConflict,
            Error::Busy,
            Error::Late,
        ] {
            let (told, reason) = (error.to_string(), error.reason());
            let mut out = Vec::new();
            write_answer(&Err(error), &mut out);
            let line = String::from_utf8(out).unwrap();
            let read = read_answer(line.trim_end()).unwrap_err();
            assert_eq!((read.to_string(), read.reason()), (told, reason));
        }
        for odd in ["", "ok", "ok 1", "ok 1 2", "ok x 2 3", "no idea", "what"] {
            assert!(
                matches!(read_answer(odd), Err(Error::Successor { .. })),
                "{odd}"
            );
        }
    }

    #[test]
    fn what_is_no_record_is_not_written() {
        for odd in [
            &b""[..],
            b"alarm",
            b"alarm {}",
            b"nothing {}",
            b"checkpoint",
        ] {
            assert!(read_record(odd).is_err(), "{odd:?}");
        }
    }
}
