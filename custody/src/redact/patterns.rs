//! The compiled set of everything that must not pass, and where it occurs in a text.
//!
//! Owns the labels, the two filters (short patterns would slow the long ones down), the token formats and the rules for
//! views. It holds secrets in the clear, so it has no `Debug` and is wiped when dropped.

use std::sync::Arc;

use exeat_types::{Secret, limits::SECRET_BYTES_MIN};

use super::{
    Formats, TooShort,
    encodings::patterns,
    escapes::{Rules, Span, View},
    filter::{Filter, Occurrence},
    formats::{Class, Ending, FORMATS, Finder},
};

/// Everything that must not pass, compiled once per snapshot of custody and shared.
pub struct Patterns {
    labels: Vec<Arc<str>>,
    secrets: usize,
    long: Filter,
    short: Filter,
    rules: Rules,
    formats: Option<Finder>,
}

/// Patterns from this length on are looked for with a window of at least this length.
const LONG_BYTES_MIN: usize = 12;

impl Patterns {
    /// Compiles secrets with their labels; `allowed` are our own placeholders, which look like tokens and must pass.
    ///
    /// # Errors
    /// When a secret is too short, or has no line that is long enough.
    pub fn compile(secrets: &[(&str, &Secret)], allowed: &[&str]) -> Result<Self, TooShort> {
        let mut labels: Vec<Arc<str>> = Vec::with_capacity(secrets.len() + FORMATS.len());
        let (mut long, mut short) = (Vec::new(), Vec::new());
        for ((label, secret), number) in secrets.iter().zip(0u32..) {
            let found = written(secret);
            if found.is_empty() || secret.len() < SECRET_BYTES_MIN {
                return Err(TooShort {
                    label: (*label).to_owned(),
                    min: SECRET_BYTES_MIN,
                });
            }
            labels.push((*label).into());
            for pattern in found {
                let set = if pattern.len() < LONG_BYTES_MIN {
                    &mut short
                } else {
                    &mut long
                };
                set.push((pattern, number));
            }
        }
        let known = labels.len();
        labels.extend(FORMATS.iter().map(|format| Arc::from(format.label)));
        let (long, short) = (Filter::new(long), Filter::new(short));
        let uses = |byte| long.uses(byte) || short.uses(byte);
        let rules = Rules::new(long.longest().max(short.longest()), uses);
        let formats = Finder::new(allowed);
        Ok(Self {
            labels,
            secrets: known,
            long,
            short,
            rules,
            formats,
        })
    }

    /// The text of a label.
    pub(super) fn label(&self, hit: &Hit) -> Option<&Arc<str>> {
        self.labels.get(hit.label as usize)
    }

    /// Finds everything in a text, and how much of the text is settled: no later match begins before that.
    pub(super) fn find(&self, text: &[u8], formats: Formats, ending: Ending, found: &mut Found) {
        let Found {
            hits,
            settled,
            once,
            twice,
        } = found;
        hits.clear();
        *settled = text.len();
        self.scan(text, |occurrence| hits.push(Hit::of(occurrence)));
        if let (Formats::Redact, Some(finder)) = (formats, &self.formats) {
            let undecided = finder.scan(text, ending, |token| {
                let label = self.secrets.saturating_add(token.format);
                let label = u32::try_from(label).unwrap_or(u32::MAX);
                let (start, end, class) = (token.start, token.end, Some(token.class));
                hits.push(Hit {
                    start,
                    end,
                    label,
                    class,
                });
            });
            *settled = undecided.unwrap_or(text.len());
        }
        if self.secrets > 0 {
            self.find_escaped(text, ending, hits, (once, twice));
            if ending == Ending::Open {
                *settled = (*settled).min(text.len() - self.held(text));
                *settled = self.settle_views(*settled, (once, twice));
            }
        }
        hits.sort_unstable_by_key(|hit| {
            (
                hit.start,
                hit.class.is_some(),
                std::cmp::Reverse(hit.end),
                hit.label,
            )
        });
    }

    /// Whether nothing at all is looked for.
    pub(super) fn is_idle(&self, formats: Formats) -> bool {
        self.secrets == 0 && formats == Formats::Keep
    }

    fn scan(&self, text: &[u8], mut found: impl FnMut(Occurrence)) {
        self.long.scan(text, &mut found);
        self.short.scan(text, &mut found);
    }

    fn held(&self, text: &[u8]) -> usize {
        self.long.held(text).max(self.short.held(text))
    }

    /// Finds what is written with escapes, applied once or twice.
    fn find_escaped(
        &self,
        text: &[u8],
        ending: Ending,
        hits: &mut Vec<Hit>,
        (once, twice): (&mut View, &mut View),
    ) {
        once.read(text, &self.rules, ending);
        if once.bytes.is_empty() {
            twice.clear();
            return;
        }
        let place = |view: &View, o: Occurrence| view.origin(o.start, o.end);
        self.scan(&once.bytes, |o| {
            hits.extend(place(once, o).map(|span| Hit::at(span, o.label)))
        });
        let open = if once.touches_end {
            ending
        } else {
            Ending::Final
        };
        twice.read(&once.bytes, &self.rules, open);
        let origin = |span: Span| once.origin(span.start, span.end);
        self.scan(&twice.bytes, |o| {
            let span = place(twice, o).and_then(origin);
            hits.extend(span.map(|span| Hit::at(span, o.label)));
        });
    }

    /// Moves `settled` before every beginning of a match that ends a view, and out of the middle of an escape.
    fn settle_views(&self, settled: usize, (once, twice): (&View, &View)) -> usize {
        let mut settled = settled.min(once.cut.unwrap_or(settled));
        if once.touches_end {
            let held = once.bytes.len() - self.held(&once.bytes);
            settled = settled.min(once.place(held).unwrap_or(settled));
            let cut = twice.cut.and_then(|at| once.place(at));
            settled = settled.min(cut.unwrap_or(settled));
            if twice.touches_end {
                let held = twice.bytes.len() - self.held(&twice.bytes);
                let place = twice.place(held).and_then(|at| once.place(at));
                settled = settled.min(place.unwrap_or(settled));
            }
        }
        let outer = twice
            .escapes()
            .iter()
            .filter_map(|span| once.origin(span.start, span.end));
        for escape in outer.chain(once.escapes().iter().copied()) {
            if escape.start < settled && settled < escape.end {
                settled = escape.start;
            }
        }
        settled
    }
}

/// What a search found; kept between searches so that its memory is used again.
#[derive(Default)]
pub(super) struct Found {
    /// By start.
    pub(super) hits: Vec<Hit>,
    /// No later match begins before this place.
    pub(super) settled: usize,
    once: View,
    twice: View,
}

/// An occurrence of something that must not pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hit {
    /// Its first byte.
    pub(super) start: usize,
    /// Behind its last byte.
    pub(super) end: usize,
    /// For a token found by its format, what it goes on with when it reaches the end of the text.
    pub(super) class: Option<Class>,
    label: u32,
}

impl Hit {
    fn of(occurrence: Occurrence) -> Self {
        let Occurrence { start, end, label } = occurrence;
        Self {
            start,
            end,
            label,
            class: None,
        }
    }

    fn at(span: Span, label: u32) -> Self {
        Self {
            start: span.start,
            end: span.end,
            label,
            class: None,
        }
    }
}

/// Every way of writing a secret.
#[expect(
    clippy::disallowed_methods,
    reason = "what is looked for is the secret itself"
)]
fn written(secret: &Secret) -> Vec<super::encodings::Wiped> {
    patterns(secret.open())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_cannot_be_told_from_text_is_refused() {
        for wrong in [&b"CANARY1"[..], b"", b"CANA\nRY-1\n"] {
            let secret = Secret::new(wrong.to_vec());
            let error = Patterns::compile(&[("github", &secret)], &[]).err();
            assert_eq!(
                error,
                Some(TooShort {
                    label: "github".to_owned(),
                    min: 8
                })
            );
        }
    }
}
