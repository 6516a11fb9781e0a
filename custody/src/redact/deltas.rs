//! Text that arrives in pieces inside JSON events, as language models stream it: `{"delta":{"text":"gh"}}`,
//! `{"delta":{"text":"p_..."}}`. The pieces of one text are cleaned as the one text they are.
//!
//! Owns the events of one stream and one cleaner for each text in it. An event that did not change leaves byte for byte.
//! Only what may be the beginning of a known secret waits (words often end like the beginning of some token format), and follows in the next event of its text, or in one that is made
//! for it before the text ends. Which members hold pieces is the tool's to say. Read `text.rs` for the cleaning.

mod event;

use std::collections::BTreeMap;

use exeat_types::limits::WHOLE_BODY_BYTES_MAX;
use serde_json::Value;

use super::{Flags, Formats, Hits, Newest, Text, TextRules, Unsafe, Written, pii::add_hits};
pub use event::Pieces;
use event::{Event, ends_event};

/// The way to members that hold pieces of text; arrays on the way are entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaPath(Vec<String>);

impl DeltaPath {
    /// Reads a JSON pointer (RFC 6901).
    pub fn of_pointer(pointer: &str) -> Self {
        let part = |part: &str| part.replace("~1", "/").replace("~0", "~");
        Self(pointer.split('/').skip(1).map(part).collect())
    }
}

/// Cleans the texts inside one stream of events.
pub struct Deltas {
    paths: Vec<DeltaPath>,
    pieces: Pieces,
    patterns: Newest,
    rules: TextRules,
    /// An event that is not whole yet.
    held: Vec<u8>,
    /// Texts that have not ended.
    texts: BTreeMap<Key, Logical>,
    /// What was taken out of texts that have, and flagged in them.
    ended: (Hits, Flags),
}

/// Most open texts in one stream; a model's answer has a few.
const TEXTS_MAX: usize = 512;

/// Which text a piece belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    path: usize,
    kind: String,
    /// The indices that the event itself names.
    scope: String,
    /// The elements of arrays on the way.
    elements: String,
}

/// One text.
struct Logical {
    text: Text,
    /// The beginning of a character whose rest is held.
    cut: Vec<u8>,
    /// The last event of this text, while something of it waits.
    last: Option<Event>,
}

/// Which texts an event ends.
enum End {
    None,
    Scope(String),
    Elements(Vec<String>),
    All,
}

impl Deltas {
    /// A cleaner of the texts at these paths.
    pub fn new(
        patterns: impl Into<Newest>,
        rules: &TextRules,
        paths: Vec<DeltaPath>,
        pieces: Pieces,
    ) -> Self {
        Self {
            paths,
            pieces,
            patterns: patterns.into(),
            rules: rules.clone(),
            held: Vec::new(),
            texts: BTreeMap::new(),
            ended: (Hits::new(), Flags::new()),
        }
    }

    /// Takes the next chunk and appends events to `out`.
    ///
    /// # Errors
    /// When an event, or the number of texts, grows beyond what may be held.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Unsafe> {
        for line in chunk.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            self.held.extend_from_slice(line);
            if ends_event(&self.held, self.pieces) {
                let event = std::mem::take(&mut self.held);
                self.take(&event, out)?;
            } else if self.held.len() > WHOLE_BODY_BYTES_MAX {
                return Err(Unsafe::Held("an event"));
            }
        }
        Ok(())
    }

    /// Ends the stream and appends what is left.
    ///
    /// # Errors
    /// Like [`Deltas::push`].
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Unsafe> {
        let event = std::mem::take(&mut self.held);
        if !event.is_empty() {
            self.take(&event, out)?;
        }
        self.flush(&End::All, out);
        Ok(())
    }

    /// How many bytes are held back.
    pub fn held(&self) -> usize {
        let texts: usize = self.texts.values().map(Logical::held).sum();
        self.held.len() + texts
    }

    /// What was taken out so far.
    pub fn hits(&self) -> Hits {
        let mut hits = self.ended.0.clone();
        for logical in self.texts.values() {
            add_hits(&logical.text.hits(), &mut hits);
        }
        hits
    }

    /// The flags raised so far.
    pub fn flags(&self) -> Flags {
        let mut flags = self.ended.1.clone();
        for logical in self.texts.values() {
            add_flags(logical.text.flags(), &mut flags);
        }
        flags
    }

    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Unsafe> {
        let Some(mut event) = Event::read(bytes, self.pieces) else {
            if event::is_done(bytes) {
                self.flush(&End::All, out);
            }
            out.extend_from_slice(bytes);
            return Ok(());
        };
        let end = end_of(&event.document);
        let (changed, touched) = self.clean(&mut event.document, &end)?;
        self.flush(&end, out);
        if changed {
            event.write(out);
        } else {
            out.extend_from_slice(bytes);
        }
        for key in touched {
            if let Some(logical) = self.texts.get_mut(&key) {
                logical.last = (logical.held() > 0).then(|| event.clone());
            }
        }
        Ok(())
    }

    /// Cleans every piece in a document; tells whether one changed, and which texts it belongs to.
    fn clean(&mut self, document: &mut Value, end: &End) -> Result<(bool, Vec<Key>), Unsafe> {
        let (kind, scope) = (kind_of(document), scope_of(document));
        let (mut changed, mut touched) = (false, Vec::new());
        let mut too_many = false;
        let Self {
            paths,
            patterns,
            rules,
            texts,
            ..
        } = self;
        for (number, path) in paths.iter().enumerate() {
            visit(
                document,
                &path.0,
                &mut String::new(),
                &mut |elements, piece| {
                    let key = Key {
                        path: number,
                        kind: kind.clone(),
                        scope: scope.clone(),
                        elements: elements.to_owned(),
                    };
                    if texts.len() >= TEXTS_MAX && !texts.contains_key(&key) {
                        too_many = true;
                        return;
                    }
                    let logical = texts
                        .entry(key.clone())
                        .or_insert_with(|| Logical::new(patterns, rules));
                    let mut clean = logical.push(piece);
                    if end.covers(&key) {
                        clean.push_str(&logical.finish());
                    }
                    if clean != *piece {
                        *piece = clean;
                        changed = true;
                    }
                    touched.push(key);
                },
            );
        }
        if too_many {
            return Err(Unsafe::Held("the texts of a stream"));
        }
        Ok((changed, touched))
    }

    /// Ends texts: what still waits of each leaves in an event like its last one, and the text is forgotten.
    fn flush(&mut self, end: &End, out: &mut Vec<u8>) {
        let ended = self.texts.extract_if(.., |key, _| end.covers(key));
        for (key, mut logical) in ended {
            let rest = logical.finish();
            add_hits(&logical.text.hits(), &mut self.ended.0);
            add_flags(logical.text.flags(), &mut self.ended.1);
            let Some(mut event) = logical.last.take().filter(|_| !rest.is_empty()) else {
                continue;
            };
            for (number, path) in self.paths.iter().enumerate() {
                visit(
                    &mut event.document,
                    &path.0,
                    &mut String::new(),
                    &mut |elements, piece| {
                        *piece = if number == key.path && elements == key.elements {
                            rest.clone()
                        } else {
                            String::new()
                        };
                    },
                );
            }
            event.write(out);
        }
    }
}

impl Logical {
    fn new(patterns: &Newest, rules: &TextRules) -> Self {
        Self {
            text: Text::new(patterns.clone(), Formats::Keep, (rules, Written::Plain)),
            cut: Vec::new(),
            last: None,
        }
    }

    fn push(&mut self, piece: &str) -> String {
        let mut out = std::mem::take(&mut self.cut);
        self.text.push(piece.as_bytes(), &mut out);
        match String::from_utf8(out) {
            Ok(text) => text,
            Err(wrong) => {
                let whole = match wrong.utf8_error().error_len() {
                    None => wrong.utf8_error().valid_up_to(),
                    Some(_) => wrong.as_bytes().len(),
                };
                let mut bytes = wrong.into_bytes();
                self.cut = bytes.split_off(whole);
                String::from_utf8_lossy(&bytes).into_owned()
            }
        }
    }

    fn finish(&mut self) -> String {
        let mut out = std::mem::take(&mut self.cut);
        self.text.finish(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    fn held(&self) -> usize {
        self.text.held() + self.cut.len()
    }
}

impl End {
    fn covers(&self, key: &Key) -> bool {
        match self {
            Self::None => false,
            Self::Scope(scope) => key.scope == *scope,
            Self::Elements(ended) => ended.iter().any(|one| key.elements.starts_with(one)),
            Self::All => true,
        }
    }
}

fn add_flags(more: Flags, flags: &mut Flags) {
    for (flag, count) in more {
        let seen = flags.entry(flag).or_default();
        *seen = seen.saturating_add(count);
    }
}

/// Shows every string at a path, with the elements of arrays on the way to it.
fn visit(
    value: &mut Value,
    path: &[String],
    elements: &mut String,
    see: &mut impl FnMut(&str, &mut String),
) {
    match (value, path.split_first()) {
        (Value::String(text), None) => see(elements, text),
        (Value::Array(items), _) => {
            for (place, item) in items.iter_mut().enumerate() {
                let before = elements.len();
                elements.push_str(&element(item, place));
                visit(item, path, elements, see);
                elements.truncate(before);
            }
        }
        (Value::Object(members), Some((first, rest))) => {
            if let Some(inner) = members.get_mut(first) {
                visit(inner, rest, elements, see);
            }
        }
        _ => {}
    }
}

/// An element by the index that it names, else by its place.
fn element(item: &Value, place: usize) -> String {
    match item.get("index").and_then(Value::as_u64) {
        Some(index) => format!("{index}."),
        None => format!("{place}."),
    }
}

fn kind_of(document: &Value) -> String {
    let kind = document.get("type").and_then(Value::as_str);
    kind.unwrap_or_default().to_owned()
}

/// The members by which events say which of several texts they belong to.
fn scope_of(document: &Value) -> String {
    const NAMES: [&str; 5] = [
        "index",
        "item_id",
        "output_index",
        "content_index",
        "summary_index",
    ];
    let named = NAMES
        .iter()
        .filter_map(|name| document.get(name).map(|value| format!("{name}={value};")));
    named.collect()
}

/// What an event ends: its `type` says `stop` or `done`, or a choice has a reason why it finished.
fn end_of(document: &Value) -> End {
    const LAST: [&str; 6] = ["stop", "done", "completed", "failed", "incomplete", "error"];
    let kind = kind_of(document);
    if LAST.iter().any(|word| kind.ends_with(word)) {
        let scope = scope_of(document);
        return if scope.is_empty() {
            End::All
        } else {
            End::Scope(scope)
        };
    }
    let choices = document.get("choices").and_then(Value::as_array);
    let finished = |item: &&Value| item.get("finish_reason").is_some_and(Value::is_string);
    let ended: Vec<String> = choices
        .into_iter()
        .flatten()
        .enumerate()
        .filter(|(_, item)| finished(item))
        .map(|(place, item)| element(item, place))
        .collect();
    if ended.is_empty() {
        End::None
    } else {
        End::Elements(ended)
    }
}

#[cfg(test)]
mod tests;
