//! The compiled set of everything that must not pass, and where it occurs in a text.
//!
//! Owns the layers of secrets, the token formats and the rules for views. It holds secrets in the clear, so it has no
//! `Debug` and is wiped when dropped.

use std::sync::Arc;

use exeat_types::Secret;

use super::{
    Formats, TooShort,
    escapes::{Rules, Span, View},
    filter::Occurrence,
    formats::{Class, Ending, FORMATS, Finder},
    layer::Layer,
};

/// Everything that must not pass, compiled; shared by all streams.
pub struct Patterns {
    layers: Vec<Arc<Layer>>,
    /// How many secrets the layers have together.
    secrets: usize,
    rules: Rules,
    formats: Option<Arc<Formatted>>,
}

/// Token formats, but for our own placeholders, which look like tokens and must pass.
pub(crate) struct Formatted {
    finder: Finder,
    labels: Vec<Arc<str>>,
}

impl Formatted {
    /// The fixed table of formats, and what passes though it looks like one.
    pub(crate) fn new(allowed: &[&str]) -> Option<Arc<Self>> {
        let labels = FORMATS.iter().map(|format| Arc::from(format.label));
        let (finder, labels) = (Finder::new(allowed)?, labels.collect());
        Some(Arc::new(Self { finder, labels }))
    }
}

impl Patterns {
    /// Compiles secrets with their labels; `allowed` are our own placeholders, which look like tokens and must pass.
    ///
    /// # Errors
    /// When a secret is too short, or has no line that is long enough.
    pub fn compile(secrets: &[(&str, &Secret)], allowed: &[&str]) -> Result<Self, TooShort> {
        let layer = Layer::compile(secrets)?;
        Ok(Self::of(vec![Arc::new(layer)], Formatted::new(allowed)))
    }

    /// Puts compiled parts together.
    pub(crate) fn of(layers: Vec<Arc<Layer>>, formats: Option<Arc<Formatted>>) -> Self {
        let longest = layers.iter().map(|layer| layer.longest()).max();
        let uses = |byte| layers.iter().any(|layer| layer.uses(byte));
        let rules = Rules::new(longest.unwrap_or_default(), uses);
        Self {
            secrets: layers.iter().map(|layer| layer.count()).sum(),
            layers,
            rules,
            formats,
        }
    }

    /// The text of a label.
    pub(super) fn label(&self, hit: &Hit) -> Option<&Arc<str>> {
        let mut number = hit.label as usize;
        for layer in &self.layers {
            match number.checked_sub(layer.count()) {
                None => return layer.label(number),
                Some(rest) => number = rest,
            }
        }
        self.formats.as_ref()?.labels.get(number)
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
        if let (Formats::Redact, Some(formats)) = (formats, &self.formats) {
            let undecided = formats.finder.scan(text, ending, |token| {
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
        let mut before = 0;
        for layer in &self.layers {
            layer.scan(text, |mut occurrence| {
                occurrence.label = occurrence.label.saturating_add(before);
                found(occurrence);
            });
            let count = u32::try_from(layer.count()).unwrap_or(u32::MAX);
            before = before.saturating_add(count);
        }
    }

    fn held(&self, text: &[u8]) -> usize {
        let held = self.layers.iter().map(|layer| layer.held(text));
        held.max().unwrap_or_default()
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
