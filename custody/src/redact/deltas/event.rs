//! Events on the wire: server-sent events (one JSON document in their data) and lines of JSON.

use serde_json::Value;

/// How the documents of a stream are set apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pieces {
    /// Server-sent events: `data:` lines, and an empty line behind.
    Events,
    /// One document in each line.
    Lines,
}

/// An event that holds a JSON object.
#[derive(Clone)]
pub(super) struct Event {
    /// The lines that are no data.
    head: Vec<u8>,
    pub(super) document: Value,
    pieces: Pieces,
}

impl Event {
    /// Reads an event; `None` when there is no JSON object in it.
    pub(super) fn read(bytes: &[u8], pieces: Pieces) -> Option<Self> {
        let (mut head, mut written) = (Vec::new(), Vec::new());
        for line in lines(bytes) {
            let content = match pieces {
                Pieces::Lines => Some(line),
                Pieces::Events => content(line),
            };
            match content {
                Some(content) => {
                    written.extend_from_slice(content);
                    written.push(b'\n');
                }
                None => {
                    head.extend_from_slice(line);
                    head.push(b'\n');
                }
            }
        }
        let document: Value = serde_json::from_slice(&written).ok()?;
        document.is_object().then_some(Self {
            head,
            document,
            pieces,
        })
    }

    /// Writes the event anew.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        let document = self.document.to_string();
        match self.pieces {
            Pieces::Lines => {
                out.extend_from_slice(document.as_bytes());
                out.push(b'\n');
            }
            Pieces::Events => {
                out.extend_from_slice(b"data: ");
                out.extend_from_slice(document.as_bytes());
                out.extend_from_slice(b"\n\n");
            }
        }
    }
}

/// Whether the bytes end an event.
pub(super) fn ends_event(bytes: &[u8], pieces: Pieces) -> bool {
    match pieces {
        Pieces::Lines => bytes.ends_with(b"\n") || bytes.ends_with(b"\r"),
        Pieces::Events => {
            [&b"\n\n"[..], b"\r\r", b"\n\r\n"]
                .iter()
                .any(|end| bytes.ends_with(end))
                || bytes == b"\n"
                || bytes == b"\r\n"
        }
    }
}

/// Whether an event says that the stream is over.
pub(super) fn is_done(bytes: &[u8]) -> bool {
    lines(bytes).any(|line| content(line) == Some(b"[DONE]"))
}

/// The lines of an event that are not empty.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = bytes.split(|byte| matches!(byte, b'\n' | b'\r'));
    lines.filter(|line| !line.is_empty())
}

/// What a line of data holds.
fn content(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"data")?;
    if rest.is_empty() {
        return Some(rest);
    }
    let rest = rest.strip_prefix(b":")?;
    Some(rest.strip_prefix(b" ").unwrap_or(rest))
}
