//! What git asks to have signed: the text of a commit or of a tag, read strictly.
//!
//! A signature is made over these bytes, so the question is what they can be taken for. Only a whole object in the form
//! that git writes is read; anything else is refused, so that nobody gets another text signed. Must never accept an
//! object that holds a signature already, or bytes that git itself would not store.

use exeat_types::Malformed;
use serde_json::{Value, json};

/// Largest object that is read.
pub const OBJECT_BYTES_MAX: usize = 1024 * 1024;
/// Most parents of a commit.
const PARENTS_MAX: usize = 1024;
/// Longest subject that rules and receipts see, in characters.
const SUBJECT_CHARS_MAX: usize = 200;

/// A commit or a tag that is about to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// What it is.
    pub kind: ObjectKind,
    /// The tree of a commit, or what a tag points to, in hex.
    pub points_to: String,
    /// The address of who wrote it; of a tag, who made the tag.
    pub author: String,
    /// The address of who committed it; of a tag, who made the tag.
    pub committer: String,
    /// The name of a tag; empty for a commit.
    pub tag: String,
    /// The first line of the message.
    pub subject: String,
}

/// The kinds of objects that git signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    /// A commit.
    Commit,
    /// An annotated tag.
    Tag,
}

impl ObjectKind {
    /// The word in arguments and rules.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Tag => "tag",
        }
    }
}

impl Object {
    /// The object as rules see it: `context.args.git`.
    pub fn arguments(&self) -> Value {
        json!({
            "kind": self.kind.name(),
            "author": self.author,
            "committer": self.committer,
            "tag": self.tag,
            "subject": self.subject,
        })
    }
}

/// Reads the bytes that git gives to the program that signs.
///
/// # Errors
/// When they are not exactly one commit or tag without a signature.
pub fn parse_object(bytes: &[u8]) -> Result<Object, Malformed> {
    if bytes.len() > OBJECT_BYTES_MAX {
        return Err(wrong("longer than the limit"));
    }
    if bytes.contains(&0) {
        return Err(wrong("a zero byte"));
    }
    let (head, message) = split(bytes)?;
    let mut lines = Lines(head);
    let object = match lines.peek() {
        Some(("tree", _)) => commit(&mut lines, message)?,
        Some(("object", _)) => tag(&mut lines, message)?,
        _ => return Err(wrong("expected a commit or a tag")),
    };
    Ok(object)
}

/// The header lines, and the message behind the first empty line.
fn split(bytes: &[u8]) -> Result<(&str, &[u8]), Malformed> {
    let end = bytes
        .windows(2)
        .position(|pair| pair == b"\n\n")
        .ok_or_else(|| wrong("no empty line behind the headers"))?;
    let (head, rest) = bytes
        .split_at_checked(end.saturating_add(1))
        .ok_or_else(|| wrong("cut off"))?;
    let head = str::from_utf8(head)
        .ok()
        .ok_or_else(|| wrong("headers that are not UTF-8"))?;
    let plain = |c: char| c == '\n' || !c.is_control();
    if !head.chars().all(plain) {
        return Err(wrong("a control character in the headers"));
    }
    Ok((head, rest.get(1..).unwrap_or_default()))
}

fn commit(lines: &mut Lines<'_>, message: &[u8]) -> Result<Object, Malformed> {
    let points_to = id(lines.need("tree")?)?.to_owned();
    let mut parents = 0_usize;
    while let Some(parent) = lines.take("parent") {
        id(parent)?;
        parents = parents.saturating_add(1);
        if parents > PARENTS_MAX {
            return Err(wrong("too many parents"));
        }
    }
    let author = person(lines.need("author")?)?.to_owned();
    let committer = person(lines.need("committer")?)?.to_owned();
    while let Some((key, _)) = lines.peek() {
        // SECURITY: what carries a signature already would be signed twice, and a header that git knows has its one place.
        let known = ["encoding", "mergetag"].contains(&key) || key.starts_with("HG:");
        if !known {
            return Err(wrong(format!("the header `{}`", shorten(key))));
        }
        lines.skip();
    }
    lines.end()?;
    Ok(Object {
        kind: ObjectKind::Commit,
        points_to,
        author,
        committer,
        tag: String::new(),
        subject: subject(message),
    })
}

fn tag(lines: &mut Lines<'_>, message: &[u8]) -> Result<Object, Malformed> {
    let points_to = id(lines.need("object")?)?.to_owned();
    let kind = lines.need("type")?;
    if !["commit", "tree", "blob", "tag"].contains(&kind) {
        return Err(wrong("a tag of something unknown"));
    }
    let name = lines.need("tag")?;
    if name.is_empty() || name.starts_with('-') || name.contains(' ') {
        return Err(wrong("a tag without a proper name"));
    }
    let tagger = person(lines.need("tagger")?)?.to_owned();
    lines.end()?;
    let begins = |start: &str| {
        let start = start.as_bytes();
        message
            .split(|byte| *byte == b'\n')
            .any(|line| line.starts_with(start))
    };
    // The signature of a tag stands behind its message.
    if ["-----BEGIN PGP ", "-----BEGIN SSH ", "-----BEGIN SIGNED "]
        .iter()
        .any(|start| begins(start))
    {
        return Err(wrong("a message that holds a signature"));
    }
    Ok(Object {
        kind: ObjectKind::Tag,
        points_to,
        author: tagger.clone(),
        committer: tagger,
        tag: name.to_owned(),
        subject: subject(message),
    })
}

/// Header lines `key value`; lines that begin with a space belong to the one before.
struct Lines<'a>(&'a str);

impl<'a> Lines<'a> {
    fn peek(&self) -> Option<(&'a str, &'a str)> {
        let line = self.0.split('\n').next().filter(|line| !line.is_empty())?;
        line.split_once(' ')
    }

    fn skip(&mut self) {
        let mut rest = self.0.split_once('\n').map_or("", |(_, rest)| rest);
        while let Some(more) = rest.strip_prefix(' ') {
            rest = more.split_once('\n').map_or("", |(_, rest)| rest);
        }
        self.0 = rest;
    }

    /// Nothing may be left: a line that is not understood would hide those behind it.
    fn end(&self) -> Result<(), Malformed> {
        match self.0.lines().next() {
            None => Ok(()),
            Some(line) => Err(wrong(format!("the header `{}`", shorten(line)))),
        }
    }

    fn take(&mut self, key: &str) -> Option<&'a str> {
        let (found, value) = self.peek()?;
        if found != key {
            return None;
        }
        let (_, rest) = self.0.split_once('\n')?;
        self.0 = rest;
        Some(value)
    }

    fn need(&mut self, key: &'static str) -> Result<&'a str, Malformed> {
        self.take(key)
            .ok_or_else(|| wrong(format!("no `{key}` where it belongs")))
    }
}

/// An object id of SHA-1 or SHA-256.
fn id(text: &str) -> Result<&str, Malformed> {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let fits = [40, 64].contains(&text.len()) && text.bytes().all(hex);
    fits.then_some(text)
        .ok_or_else(|| wrong("an object id that is none"))
}

/// `Name <address> seconds zone`; gives the address.
fn person(line: &str) -> Result<&str, Malformed> {
    let none = || wrong("a person that is not written as git does");
    let (name, rest) = line.split_once('<').ok_or_else(none)?;
    let (address, when) = rest.split_once('>').ok_or_else(none)?;
    let (seconds, zone) = when
        .strip_prefix(' ')
        .and_then(|when| when.split_once(' '))
        .ok_or_else(none)?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let zone = zone.strip_prefix(['+', '-']).ok_or_else(none)?;
    let fits = (name.is_empty() || name.ends_with(' '))
        && !name.contains('>')
        && !address.contains(['<', '\n'])
        && digits(seconds)
        && seconds.len() <= 20
        && zone.len() == 4
        && digits(zone);
    fits.then_some(address).ok_or_else(none)
}

fn subject(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let line = text.trim_start().lines().next().unwrap_or_default();
    let plain = line.chars().filter(|c| !c.is_control());
    plain.take(SUBJECT_CHARS_MAX).collect()
}

fn shorten(key: &str) -> String {
    key.chars().take(40).collect()
}

fn wrong(problem: impl Into<String>) -> Malformed {
    Malformed::new("git object", problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
    const WHO: &str = "Ann Other <ann@example.com> 1700000000 +0100";

    fn commit_of(extra: &str) -> String {
        format!(
            "tree {TREE}\nparent {TREE}\nauthor {WHO}\ncommitter {WHO}\n{extra}\nAdd a thing\n\nWhy.\n"
        )
    }

    #[test]
    fn a_commit_and_a_tag_are_read() {
        let read = parse_object(commit_of("").as_bytes()).unwrap();
        assert_eq!(
            (read.kind.name(), &*read.author, &*read.subject),
            ("commit", "ann@example.com", "Add a thing")
        );
        let merged =
            commit_of("encoding ISO-8859-1\nmergetag object x\n type commit\n \n -----BEGIN\n");
        assert!(parse_object(merged.as_bytes()).is_ok());
        let tag = format!("object {TREE}\ntype commit\ntag v1.0\ntagger {WHO}\n\nFirst\n");
        let read = parse_object(tag.as_bytes()).unwrap();
        assert_eq!((read.kind, &*read.tag), (ObjectKind::Tag, "v1.0"));
        let nobody = format!("tree {TREE}\nauthor  <> 0 +0000\ncommitter <> 0 -0000\n\n");
        assert!(parse_object(nobody.as_bytes()).is_ok());
    }

    #[track_caller]
    fn refused(text: &str) {
        assert!(parse_object(text.as_bytes()).is_err(), "{text}");
    }

    #[test]
    fn everything_else_is_refused() {
        refused("");
        refused("I owe you 100 EUR\n");
        refused("certificate version 0.1\npusher ann\n\nold new ref\n");
        refused(&format!("tree {TREE}\n\nauthor {WHO}\n"));
        refused(&format!("tree {TREE}\nauthor {WHO}\ncommitter {WHO}\n"));
        refused(&format!(
            "tree {}\nauthor {WHO}\ncommitter {WHO}\n\nx",
            TREE.trim_start_matches('4')
        ));
        refused(&format!("tree {TREE}\ncommitter {WHO}\nauthor {WHO}\n\nx"));
        refused(&format!("tree {TREE}\nauthor ann\ncommitter {WHO}\n\nx"));
        refused(&commit_of("gpgsig -----BEGIN PGP SIGNATURE-----\n x\n"));
        refused(&commit_of("gpgsig-sha256 x\n"));
        refused(&commit_of("HG:odd\ngpgsig x\n"));
        refused(&commit_of("odd\n"));
        refused(&commit_of("anything else\n"));
        refused(&commit_of("").replace("Why", "W\0hy"));
        refused(&commit_of("").replace("Ann", "Ann\r"));
        refused(&format!(
            "object {TREE}\ntype commit\ntag -f\ntagger {WHO}\n\nx"
        ));
        refused(&format!(
            "object {TREE}\ntype commit\ntag v1\ntagger {WHO}\n\nx\n-----BEGIN PGP SIGNATURE-----\n"
        ));
        refused(&format!(
            "object {TREE}\ntype commit\ntag v1\ntagger {WHO}\ntree {TREE}\n\nx"
        ));
        refused(&"a".repeat(OBJECT_BYTES_MAX + 1));
    }
}
