//! A map that remembers results and cannot grow past its limit: a full part of it is emptied.

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::{BuildHasher as _, Hash, RandomState},
    sync::{Mutex, PoisonError},
};

const SHARDS: usize = 16;

/// A shared map of results that can be computed again.
pub(crate) struct Bounded<K, V> {
    shards: [Mutex<HashMap<K, V, RandomState>>; SHARDS],
    hasher: RandomState,
    shard_entries_max: usize,
}

impl<K: Hash + Eq, V: Clone> Bounded<K, V> {
    pub(crate) fn new(entries_max: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::new(HashMap::new())),
            hasher: RandomState::new(),
            shard_entries_max: (entries_max / SHARDS).max(1),
        }
    }

    pub(crate) fn find<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        // A panic elsewhere leaves the map whole: single inserts and clears are all that happens under the lock.
        self.shard(key)?
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned()
    }

    pub(crate) fn keep(&self, key: K, value: V) {
        let Some(shard) = self.shard(&key) else {
            return;
        };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= self.shard_entries_max {
            shard.clear();
        }
        shard.insert(key, value);
    }

    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> Option<&Mutex<HashMap<K, V, RandomState>>> {
        let shards = u64::try_from(SHARDS).ok()?;
        let index = usize::try_from(self.hasher.hash_one(key) % shards).ok()?;
        self.shards.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_never_holds_more_than_its_limit() {
        let map: Bounded<u32, u32> = Bounded::new(64);
        for number in 0..10_000 {
            map.keep(number, number);
            assert_eq!(map.find(&number), Some(number));
        }
        let held: usize = map
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap().len())
            .sum();
        assert!(held <= 64, "{held}");
    }
}
