//! Formats of well-known tokens: a literal beginning, then a minimum of characters of a class.
//!
//! Once the minimum is there the token is redacted and everything of its class behind it is swallowed, however long.
//! Our own placeholders have the same shapes and pass when they stand alone. JSON web tokens are no secret by shape:
//! APIs return them as their answer, so they have no row.

use aho_corasick::{AhoCorasick, Input, MatchKind};

/// Whether more text may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Another chunk may come.
    Open,
    /// This is the end.
    Final,
}

/// One format.
pub(super) struct Format {
    /// Its name, which is the label of its redactions.
    pub(super) label: &'static str,
    prefix: &'static str,
    class: Class,
    body_bytes_min: usize,
}

/// A set of characters that a token is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Letters and digits.
    Alphanumeric,
    /// Letters, digits and `_`.
    Word,
    /// Letters, digits, `_` and `-`.
    Dashed,
    /// Upper-case letters and digits.
    Upper,
    /// Base64 with its line breaks, plain or as JSON escapes.
    Lines,
}

impl Class {
    const ALL: [Self; 5] = [
        Self::Alphanumeric,
        Self::Word,
        Self::Dashed,
        Self::Upper,
        Self::Lines,
    ];

    /// How many bytes at the beginning of the text belong to the class.
    pub(super) fn run(self, text: &[u8]) -> usize {
        text.iter()
            .position(|byte| !self.has(*byte))
            .unwrap_or(text.len())
    }

    fn has(self, byte: u8) -> bool {
        match self {
            Self::Alphanumeric => byte.is_ascii_alphanumeric(),
            Self::Word => byte.is_ascii_alphanumeric() || byte == b'_',
            Self::Dashed => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
            Self::Upper => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            Self::Lines => {
                byte.is_ascii_alphanumeric()
                    || matches!(byte, b'+' | b'/' | b'=' | b'\r' | b'\n' | b'\\')
            }
        }
    }
}

/// A set of classes whose runs reached the end of a chunk and go on in the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Running(u8);

impl Running {
    /// Adds a class.
    pub(super) fn insert(&mut self, class: Class) {
        self.0 |= 1 << class as u8;
    }

    /// The classes.
    pub(super) fn classes(self) -> impl Iterator<Item = Class> {
        Class::ALL
            .into_iter()
            .filter(move |class| self.0 >> (*class as u8) & 1 == 1)
    }
}

const fn format(
    label: &'static str,
    prefix: &'static str,
    class: Class,
    body_bytes_min: usize,
) -> Format {
    Format {
        label,
        prefix,
        class,
        body_bytes_min,
    }
}

/// All formats. No prefix begins with another one, and none holds a line break.
pub(super) const FORMATS: [Format; 31] = [
    format("github-token", "ghp_", Class::Alphanumeric, 36),
    format("github-token", "gho_", Class::Alphanumeric, 36),
    format("github-token", "ghu_", Class::Alphanumeric, 36),
    format("github-token", "ghs_", Class::Alphanumeric, 36),
    format("github-token", "ghr_", Class::Alphanumeric, 36),
    format("github-token", "github_pat_", Class::Word, 60),
    format("gitlab-token", "glpat-", Class::Dashed, 20),
    format("anthropic-key", "sk-ant-", Class::Dashed, 24),
    format("openai-key", "sk-proj-", Class::Dashed, 24),
    format("openai-key", "sk-svcacct-", Class::Dashed, 24),
    format("stripe-key", "sk_live_", Class::Alphanumeric, 16),
    format("stripe-key", "rk_live_", Class::Alphanumeric, 16),
    format("stripe-key", "sk_test_", Class::Alphanumeric, 16),
    format("stripe-key", "rk_test_", Class::Alphanumeric, 16),
    format("slack-token", "xoxa-", Class::Dashed, 10),
    format("slack-token", "xoxb-", Class::Dashed, 10),
    format("slack-token", "xoxp-", Class::Dashed, 10),
    format("slack-token", "xoxr-", Class::Dashed, 10),
    format("slack-token", "xoxs-", Class::Dashed, 10),
    format("aws-key-id", "AKIA", Class::Upper, 16),
    format("aws-key-id", "ASIA", Class::Upper, 16),
    format("google-key", "AIza", Class::Dashed, 35),
    format("npm-token", "npm_", Class::Alphanumeric, 36),
    format("pypi-token", "pypi-AgEI", Class::Dashed, 32),
    format(
        "private-key",
        "-----BEGIN PRIVATE KEY-----",
        Class::Lines,
        0,
    ),
    format(
        "private-key",
        "-----BEGIN RSA PRIVATE KEY-----",
        Class::Lines,
        0,
    ),
    format(
        "private-key",
        "-----BEGIN EC PRIVATE KEY-----",
        Class::Lines,
        0,
    ),
    format(
        "private-key",
        "-----BEGIN DSA PRIVATE KEY-----",
        Class::Lines,
        0,
    ),
    format(
        "private-key",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        Class::Lines,
        0,
    ),
    format(
        "private-key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----",
        Class::Lines,
        0,
    ),
    format(
        "private-key",
        "-----BEGIN PGP PRIVATE KEY BLOCK-----",
        Class::Lines,
        0,
    ),
];

/// An occurrence of a format.
pub(super) struct Token {
    /// Its first byte.
    pub(super) start: usize,
    /// Behind its last byte, or the end of the text while it goes on.
    pub(super) end: usize,
    /// Its place in [`FORMATS`].
    pub(super) format: usize,
    /// The class of its body.
    pub(super) class: Class,
}

/// Finds tokens by their format.
pub(super) struct Finder {
    prefixes: AhoCorasick,
    /// By byte: whether a prefix begins with it.
    begins: [bool; 256],
    allowed: Vec<Vec<u8>>,
}

impl Finder {
    /// A finder that passes the `allowed` strings; `None` when the fixed table of prefixes does not compile.
    pub(super) fn new(allowed: &[&str]) -> Option<Self> {
        let prefixes = FORMATS.iter().map(|format| format.prefix);
        let prefixes = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .build(prefixes);
        let mut allowed: Vec<_> = allowed
            .iter()
            .map(|text| text.as_bytes().to_vec())
            .collect();
        allowed.sort_unstable();
        let mut begins = [false; 256];
        for byte in FORMATS
            .iter()
            .filter_map(|format| format.prefix.bytes().next())
        {
            if let Some(slot) = begins.get_mut(usize::from(byte)) {
                *slot = true;
            }
        }
        Some(Self {
            prefixes: prefixes.ok()?,
            begins,
            allowed,
        })
    }

    /// Reports every token, and returns the start of the first one that the next chunk decides.
    pub(super) fn scan(
        &self,
        text: &[u8],
        ending: Ending,
        mut found: impl FnMut(Token),
    ) -> Option<usize> {
        let mut undecided = None;
        let mut swallowed = [0; Class::ALL.len()];
        let mut from = 0;
        while let Some(hit) = self.prefixes.find(Input::new(text).range(from..)) {
            let start = hit.start();
            from = start + 1;
            let index = hit.pattern().as_usize();
            let Some(format) = FORMATS.get(index) else {
                continue;
            };
            let Some(seen) = swallowed.get_mut(format.class as usize) else {
                continue;
            };
            if hit.end() <= *seen {
                continue;
            }
            let end = hit.end() + format.class.run(text.get(hit.end()..).unwrap_or_default());
            let token = text.get(start..end).unwrap_or_default();
            let rest = if end == text.len() {
                ending
            } else {
                Ending::Final
            };
            if end - hit.end() < format.body_bytes_min || self.may_pass(token, rest) {
                if rest == Ending::Open {
                    undecided = undecided.or(Some(start));
                }
                continue;
            }
            *seen = end;
            found(Token {
                start,
                end,
                format: index,
                class: format.class,
            });
        }
        let partial = match ending {
            Ending::Open => self.partial_prefix(text),
            Ending::Final => None,
        };
        match (undecided, partial) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Whether a token is one of ours, or may become one in the next chunk.
    fn may_pass(&self, token: &[u8], rest: Ending) -> bool {
        let first = self.allowed.partition_point(|ours| ours.as_slice() < token);
        let next = self
            .allowed
            .get(first)
            .map(Vec::as_slice)
            .unwrap_or_default();
        next == token || (rest == Ending::Open && next.starts_with(token))
    }

    /// Where the text ends in the middle of a prefix.
    fn partial_prefix(&self, text: &[u8]) -> Option<usize> {
        let longest = self.prefixes.max_pattern_len().saturating_sub(1);
        let begins = |start: &usize| {
            let tail = text.get(*start..).unwrap_or_default();
            let first = tail.first().map_or(0, |byte| usize::from(*byte));
            let known = self.begins.get(first).is_some_and(|begins| *begins);
            known
                && FORMATS
                    .iter()
                    .any(|format| begins_with(format.prefix.as_bytes(), tail))
        };
        (text.len().saturating_sub(longest)..text.len()).find(begins)
    }
}

/// Like `starts_with`, for a few bytes that mostly differ in the first ones.
fn begins_with(prefix: &[u8], tail: &[u8]) -> bool {
    tail.len() <= prefix.len() && prefix.iter().zip(tail).all(|(one, other)| one == other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_prefix_begins_with_another_or_holds_a_line_break() {
        for (place, one) in FORMATS.iter().enumerate() {
            assert!(!one.prefix.contains('\n'));
            for (other_place, other) in FORMATS.iter().enumerate() {
                assert!(place == other_place || !one.prefix.starts_with(other.prefix));
            }
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &[(usize, usize)], undecided: Option<usize>) {
        let finder = Finder::new(&["xoxb-OUR-PLACEHOLDER"]).unwrap();
        let mut found = Vec::new();
        let open = finder.scan(text.as_bytes(), Ending::Open, |t| {
            found.push((t.start, t.end))
        });
        assert_eq!((found.as_slice(), open), (expected, undecided), "{text}");
    }

    #[test]
    fn tokens_are_found_swallowed_and_held_until_decided() {
        let body = "a".repeat(36);
        check(&format!("x ghp_{body} y"), &[(2, 42)], None);
        check(&format!("x ghp_{body}{body} y"), &[(2, 78)], None);
        check("x ghp_abc y", &[], None);
        check("x ghp_abc", &[], Some(2));
        check("x gh", &[], Some(2));
        check("x gh ", &[], None);
        check("xoxb-OUR-PLACEHOLDER ", &[], None);
        check("xoxb-OUR-PLACEHOLDER", &[], Some(0));
        check("xoxb-OUR-PLACEHOLDERx ", &[(0, 21)], None);
        check("xoxb-OUR-PLACEHO", &[], Some(0));
        check("xoxb-OUR-PLACEHO ", &[(0, 16)], None);
        check(
            "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END",
            &[(0, 33)],
            None,
        );
    }
}
