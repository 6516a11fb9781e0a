//! What a `git push` over HTTP would do: which refs it creates, moves, rewrites or deletes.
//!
//! Reads the whole body of `POST .../git-receive-pack`. Owns the one question that a rule cannot answer from names:
//! whether a moved branch keeps its history. Nothing is believed: a move counts as [`Kind::Update`] only when the commits
//! in the pack itself lead from the new commit back to the old one. Must never call a rewrite an update; the other
//! mistake is allowed, and happens when the commits between are on the server already. Read `pack.rs` next.
//!
//! Fetching (`git-upload-pack`) changes nothing; it needs no parser here.

mod delta;
mod object;
mod pack;

use std::collections::HashSet;

use exeat_types::Malformed;

pub use self::object::{OBJECT_BYTES_MAX, Object, ObjectKind, parse_object};

use self::pack::Commits;

/// A push, read to its last byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// What happens to each ref, in the order sent. Empty when git only asks whether it would be let in.
    pub updates: Vec<RefUpdate>,
    /// What the client says with `git push -o`.
    pub options: Vec<String>,
}

/// What happens to one ref.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefUpdate {
    /// The full name, such as `refs/heads/main`.
    pub name: String,
    /// The object id that the client saw there, in hex; all zeros for none.
    pub old: String,
    /// The object id that is to stand there, in hex; all zeros for none.
    pub new: String,
    /// What that amounts to.
    pub kind: Kind,
}

/// What a push does to a ref.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The ref is new.
    Create,
    /// The ref moves forward: its old commit is an ancestor of the new one, and the pack proves it.
    Update,
    /// The ref goes away.
    Delete,
    /// The ref moves and nothing proves that its history is kept, or it is a tag.
    Force,
}

impl Kind {
    /// The word in arguments and rules.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Force => "force",
        }
    }
}

/// How the repository names its objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Sha1,
    Sha256,
}

impl Format {
    const fn id_bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    const fn algorithm(self) -> &'static ring::digest::Algorithm {
        match self {
            Self::Sha1 => &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &ring::digest::SHA256,
        }
    }
}

/// An object id, as bytes.
type Id = Vec<u8>;

/// Reads the body of a `git-receive-pack` request.
///
/// # Errors
/// When the body is not exactly one well-formed push, is signed (`push-cert`), is compressed, or its pack exceeds the
/// limits of `pack.rs`.
///
/// # Spec
/// gitprotocol-pack(5), "Pushing Data To a Server"; gitformat-pack(5).
pub fn parse_push(body: &[u8]) -> Result<Push, Malformed> {
    let mut lines = Lines { rest: body };
    let head = commands(&mut lines)?;
    let options = if head.has_options {
        push_options(&mut lines)?
    } else {
        Vec::new()
    };
    let needs_pack = head.commands.iter().any(|command| !is_zero(&command.new));
    let commits = match lines.rest {
        [] if needs_pack => return Err(wrong("the pack is missing")),
        [] => Commits::new(),
        pack => pack::commits(pack, head.format)?,
    };
    let updates = head
        .commands
        .into_iter()
        .map(|command| command.judge(&commits, &head.shallow))
        .collect();
    Ok(Push { updates, options })
}

/// Most refs in one push.
const COMMANDS_MAX: usize = 10_000;
/// Most options in one push.
const OPTIONS_MAX: usize = 256;

fn wrong(problem: impl Into<String>) -> Malformed {
    Malformed::new("git push", problem)
}

/// Reads pkt-lines off the front of a body.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    /// The next line without its length; `None` for a flush packet.
    fn next(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let (digits, rest) = self
            .rest
            .split_at_checked(4)
            .ok_or_else(|| wrong("a pkt-line is cut off"))?;
        let hex = digits.iter().all(u8::is_ascii_hexdigit);
        let text = str::from_utf8(digits).ok().filter(|_| hex);
        let length = text.and_then(|text| usize::from_str_radix(text, 16).ok());
        match length {
            Some(0) => {
                self.rest = rest;
                Ok(None)
            }
            Some(length @ 5..=65520) => {
                let (line, rest) = rest
                    .split_at_checked(length - 4)
                    .ok_or_else(|| wrong("a pkt-line is cut off"))?;
                self.rest = rest;
                Ok(Some(line))
            }
            _ => Err(wrong(
                "expected a pkt-line with its length in four hex digits",
            )),
        }
    }
}

struct Commands {
    commands: Vec<Command>,
    shallow: HashSet<Id>,
    format: Format,
    has_options: bool,
}

struct Command {
    name: String,
    old: Id,
    new: Id,
}

/// Reads everything before the pack and the options.
fn commands(lines: &mut Lines<'_>) -> Result<Commands, Malformed> {
    let mut found = Commands {
        commands: Vec::new(),
        shallow: HashSet::new(),
        format: Format::Sha1,
        has_options: false,
    };
    let mut shallow = Vec::new();
    let mut names = HashSet::new();
    while let Some(line) = lines.next()? {
        if line.starts_with(b"push-cert") {
            return Err(wrong(
                "signed pushes (`push-cert`) are not read; push with `--no-signed`",
            ));
        }
        if let Some(id) = line.strip_prefix(b"shallow ")
            && found.commands.is_empty()
        {
            shallow.push(id.strip_suffix(b"\n").unwrap_or(id));
            continue;
        }
        let (line, capabilities) = match line.iter().position(|&byte| byte == 0) {
            Some(at) => line.split_at_checked(at).unwrap_or_default(),
            None => (line, &[][..]),
        };
        if found.commands.is_empty() {
            found.capabilities(capabilities)?;
        } else if !capabilities.is_empty() {
            return Err(wrong("a second list of capabilities"));
        }
        let command = command(line, found.format)?;
        if !names.insert(command.name.clone()) {
            return Err(wrong("the same ref is named twice"));
        }
        found.commands.push(command);
        if found.commands.len() > COMMANDS_MAX {
            return Err(wrong(format!("more than {COMMANDS_MAX} refs")));
        }
    }
    for text in shallow {
        found.shallow.insert(parse_id(text, found.format)?);
    }
    Ok(found)
}

impl Commands {
    fn capabilities(&mut self, list: &[u8]) -> Result<(), Malformed> {
        let text = str::from_utf8(list)
            .ok()
            .ok_or_else(|| wrong("the capabilities are not text"))?;
        let words = text
            .trim_matches(['\0', '\n'])
            .split(' ')
            .filter(|word| !word.is_empty());
        let mut formats = words
            .clone()
            .filter_map(|word| word.strip_prefix("object-format="));
        self.format = match (formats.next(), formats.next()) {
            (None | Some("sha1"), None) => Format::Sha1,
            (Some("sha256"), None) => Format::Sha256,
            _ => return Err(wrong("expected one object format, `sha1` or `sha256`")),
        };
        self.has_options = words.into_iter().any(|word| word == "push-options");
        Ok(())
    }
}

fn command(line: &[u8], format: Format) -> Result<Command, Malformed> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut parts = line.splitn(3, |&byte| byte == b' ');
    let (Some(old), Some(new), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(wrong("expected an old id, a new id and a ref"));
    };
    let (old, new) = (parse_id(old, format)?, parse_id(new, format)?);
    if is_zero(&old) && is_zero(&new) {
        return Err(wrong("a ref goes from nothing to nothing"));
    }
    let name = str::from_utf8(name).ok().filter(|name| ref_name_ok(name));
    let name = name
        .ok_or_else(|| wrong("a ref's name is not one that git accepts"))?
        .to_owned();
    Ok(Command { name, old, new })
}

/// git-check-ref-format(1), for names below `refs/`.
fn ref_name_ok(name: &str) -> bool {
    let part_ok =
        |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let odd = |c: char| c.is_ascii_control() || " ~^:?*[\\".contains(c);
    name.strip_prefix("refs/")
        .is_some_and(|rest| rest.split('/').all(part_ok))
        && !name.contains(odd)
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with('.')
        && name.len() <= 1024
}

fn push_options(lines: &mut Lines<'_>) -> Result<Vec<String>, Malformed> {
    let mut options = Vec::new();
    while let Some(line) = lines.next()? {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let text = str::from_utf8(line)
            .ok()
            .ok_or_else(|| wrong("a push option is not text"))?;
        options.push(text.to_owned());
        if options.len() > OPTIONS_MAX {
            return Err(wrong(format!("more than {OPTIONS_MAX} push options")));
        }
    }
    Ok(options)
}

fn parse_id(text: &[u8], format: Format) -> Result<Id, Malformed> {
    let nibble = |&digit: &u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(nibble(high)? << 4 | nibble(low)?),
        _ => None,
    };
    let id: Option<Id> = text.chunks(2).map(byte).collect();
    let expected = format.id_bytes();
    let problem = || {
        wrong(format!(
            "expected an object id of {} hex digits",
            expected * 2
        ))
    };
    id.filter(|id| id.len() == expected).ok_or_else(problem)
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_zero(id: &[u8]) -> bool {
    id.iter().all(|&byte| byte == 0)
}

impl Command {
    fn judge(self, commits: &Commits, shallow: &HashSet<Id>) -> RefUpdate {
        let kind = if is_zero(&self.old) {
            Kind::Create
        } else if is_zero(&self.new) {
            Kind::Delete
        } else if self.name.starts_with("refs/tags/")
            || !leads_to(&self.new, &self.old, commits, shallow)
        {
            // Git itself wants `--force` before it moves a tag.
            Kind::Force
        } else {
            Kind::Update
        };
        RefUpdate {
            name: self.name,
            old: hex(&self.old),
            new: hex(&self.new),
            kind,
        }
    }
}

/// Whether the parents of `new`, as far as the pack has them, lead to `old`.
///
/// SECURITY: a commit that the client calls shallow is cut off from its parents on the server, so it proves nothing.
fn leads_to(new: &Id, old: &Id, commits: &Commits, shallow: &HashSet<Id>) -> bool {
    let mut seen = HashSet::new();
    let mut open = vec![new];
    while let Some(id) = open.pop() {
        if id == old {
            return true;
        }
        if !shallow.contains(id) && seen.insert(id) {
            open.extend(commits.get(id).into_iter().flatten());
        }
    }
    false
}

#[cfg(test)]
mod tests;
