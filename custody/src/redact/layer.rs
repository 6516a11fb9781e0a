//! One set of secrets with their labels, compiled. Patterns are made of layers, so that a token that comes is compiled with
//! the other tokens and not with every secret there is.

use std::sync::Arc;

use exeat_types::{Secret, limits::SECRET_BYTES_MIN};

use super::{
    TooShort,
    encodings::{Wiped, patterns},
    filter::{Filter, Occurrence},
};

/// Secrets in every way of writing. It holds them in the clear, so it has no `Debug` and is wiped when dropped.
pub(crate) struct Layer {
    labels: Vec<Arc<str>>,
    long: Filter,
    /// Short patterns would slow the long ones down.
    short: Filter,
}

/// Patterns from this length on are looked for with a window of at least this length.
const LONG_BYTES_MIN: usize = 12;

impl Layer {
    /// Compiles secrets with their labels.
    pub(crate) fn compile(secrets: &[(&str, &Secret)]) -> Result<Self, TooShort> {
        let mut labels = Vec::with_capacity(secrets.len());
        let (mut long, mut short) = (Vec::new(), Vec::new());
        for ((label, secret), number) in secrets.iter().zip(0u32..) {
            let found = written(secret);
            if found.is_empty() || secret.len() < SECRET_BYTES_MIN {
                return Err(TooShort {
                    label: (*label).to_owned(),
                    min: SECRET_BYTES_MIN,
                });
            }
            labels.push(Arc::from(*label));
            for pattern in found {
                let set = if pattern.len() < LONG_BYTES_MIN {
                    &mut short
                } else {
                    &mut long
                };
                set.push((pattern, number));
            }
        }
        Ok(Self {
            labels,
            long: Filter::new(long),
            short: Filter::new(short),
        })
    }

    /// How many secrets it has, which is how many labels.
    pub(super) const fn count(&self) -> usize {
        self.labels.len()
    }

    /// The text of a label.
    pub(super) fn label(&self, number: usize) -> Option<&Arc<str>> {
        self.labels.get(number)
    }

    /// Whether a byte occurs in a pattern.
    pub(super) fn uses(&self, byte: u8) -> bool {
        self.long.uses(byte) || self.short.uses(byte)
    }

    /// The length of the longest pattern.
    pub(super) fn longest(&self) -> usize {
        self.long.longest().max(self.short.longest())
    }

    /// Reports every occurrence.
    pub(super) fn scan(&self, text: &[u8], mut found: impl FnMut(Occurrence)) {
        self.long.scan(text, &mut found);
        self.short.scan(text, &mut found);
    }

    /// The length of the longest end of the text that is the beginning of a pattern.
    pub(super) fn held(&self, text: &[u8]) -> usize {
        self.long.held(text).max(self.short.held(text))
    }
}

/// Every way of writing a secret.
#[expect(
    clippy::disallowed_methods,
    reason = "what is looked for is the secret itself"
)]
fn written(secret: &Secret) -> Vec<Wiped> {
    patterns(secret.open())
}
