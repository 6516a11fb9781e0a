//! The newest patterns, for whatever cleans a stream: a secret that becomes known while the stream is open is found in
//! what of it is still to come.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::Patterns;

/// Patterns that may be replaced by newer ones at any moment. Copies see the same ones.
#[derive(Clone)]
pub struct Newest(Arc<ArcSwap<Patterns>>);

impl Newest {
    /// The patterns as they are now.
    pub fn load(&self) -> Guard<Arc<Patterns>> {
        self.0.load()
    }

    /// Puts newer ones in their place.
    pub(crate) fn replace(&self, patterns: Patterns) {
        self.0.store(Arc::new(patterns));
    }
}

impl From<Arc<Patterns>> for Newest {
    fn from(patterns: Arc<Patterns>) -> Self {
        Self(Arc::new(ArcSwap::new(patterns)))
    }
}
