//! Phrases that are known from prompt injections. They are flagged and pass: what they mean is not for a gate to judge.
//!
//! Owns the table and the search, which reads over line breaks, runs of spaces and upper case. It must never change text.

use std::collections::BTreeMap;

use aho_corasick::{AhoCorasick, MatchKind};

/// The table: what is looked for, and the name of the flag.
pub const MARKERS: [(&str, &str); 24] = [
    ("ignore previous instructions", "ignore-instructions"),
    ("ignore all previous instructions", "ignore-instructions"),
    ("ignore all prior instructions", "ignore-instructions"),
    ("ignore your instructions", "ignore-instructions"),
    ("ignore the above", "ignore-instructions"),
    ("disregard previous instructions", "ignore-instructions"),
    ("disregard all previous", "ignore-instructions"),
    ("forget your instructions", "ignore-instructions"),
    ("new instructions:", "new-instructions"),
    ("system prompt:", "new-instructions"),
    ("you are now in developer mode", "role-change"),
    ("you are now dan", "role-change"),
    ("do not tell the user", "secrecy"),
    ("don't tell the user", "secrecy"),
    ("without telling the user", "secrecy"),
    ("<|im_start|>", "chat-template"),
    ("<|im_end|>", "chat-template"),
    ("<|endoftext|>", "chat-template"),
    ("<|system|>", "chat-template"),
    ("<|start_header_id|>", "chat-template"),
    ("[/inst]", "chat-template"),
    ("<<sys>>", "chat-template"),
    ("<system-reminder>", "chat-template"),
    ("</tool_result>", "chat-template"),
];

/// How often each flag was raised.
pub type Flags = BTreeMap<&'static str, u64>;

/// Looks for the phrases of the table in one text that arrives in chunks.
pub struct Markers {
    finder: Option<AhoCorasick>,
    /// The end of what was seen, in the form that is searched.
    carry: Vec<u8>,
    escaped: bool,
    flags: Flags,
}

impl Default for Markers {
    fn default() -> Self {
        let phrases = MARKERS.iter().map(|(phrase, _)| phrase);
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .build(phrases);
        Self {
            finder: finder.ok(),
            carry: Vec::new(),
            escaped: false,
            flags: Flags::new(),
        }
    }
}

impl Markers {
    /// Looks at the next chunk.
    pub fn look(&mut self, chunk: &[u8]) {
        let Some(finder) = &self.finder else { return };
        let seen = self.carry.len();
        for byte in chunk {
            // `\n` of JSON is a line break like any other; `\u003c` is not undone.
            let byte = match (std::mem::take(&mut self.escaped), byte) {
                (true, b'n' | b'r' | b't') => b' ',
                (_, b'\\') => {
                    self.escaped = true;
                    continue;
                }
                (_, byte) if byte.is_ascii_whitespace() => b' ',
                (_, byte) => byte.to_ascii_lowercase(),
            };
            if byte != b' ' || self.carry.last() != Some(&b' ') {
                self.carry.push(byte);
            }
        }
        for hit in finder.find_overlapping_iter(&self.carry) {
            let flag = MARKERS
                .get(hit.pattern().as_usize())
                .filter(|_| hit.end() > seen);
            if let Some((_, flag)) = flag {
                let count = self.flags.entry(flag).or_default();
                *count = count.saturating_add(1);
            }
        }
        let keep = finder.max_pattern_len().saturating_sub(1);
        let spare = self.carry.len().saturating_sub(keep);
        self.carry.drain(..spare);
    }

    /// Ends the text; another one may follow.
    pub fn finish(&mut self) {
        self.carry.clear();
        self.escaped = false;
    }

    /// The flags raised so far.
    pub const fn flags(&self) -> &Flags {
        &self.flags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&'static str, u64)]) {
        for size in [1, 2, 7, 1000] {
            let mut markers = Markers::default();
            for chunk in text.as_bytes().chunks(size) {
                markers.look(chunk);
            }
            let expected: Flags = expected.iter().copied().collect();
            assert_eq!(*markers.flags(), expected, "{text}: chunks of {size}");
        }
    }

    #[test]
    fn phrases_are_flagged_once_each_wherever_the_text_is_cut() {
        check("nothing to see", &[]);
        check(
            "Please IGNORE  previous\r\ninstructions. Ignore previous instructions!",
            &[("ignore-instructions", 2)],
        );
        check(
            r#"{"text":"ignore\nall previous\tinstructions <|im_start|>"}"#,
            &[("ignore-instructions", 1), ("chat-template", 1)],
        );
        check(
            "do not tell the  user, ignore the above",
            &[("secrecy", 1), ("ignore-instructions", 1)],
        );
    }

    #[test]
    fn the_table_is_written_in_the_form_that_is_searched() {
        for (phrase, flag) in MARKERS {
            assert_eq!(phrase, phrase.to_ascii_lowercase());
            assert!(!phrase.contains("  ") && !flag.contains(' '));
        }
    }
}
