//! The RFC 6962 Merkle tree, kept as the roots of its complete subtrees: appending costs one hash and a half.

use exeat_types::{Digest, DigestBuilder};

/// A tree that only grows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    peaks: Vec<Digest>,
}

impl Tree {
    /// The tree without leaves.
    pub const fn empty() -> Self {
        Self {
            size: 0,
            peaks: Vec::new(),
        }
    }

    /// How many leaves it has.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf hash.
    pub fn append(&mut self, leaf: Digest) {
        let mut hash = leaf;
        let mut rest = self.size;
        while rest & 1 == 1 {
            let Some(left) = self.peaks.pop() else { break };
            hash = node_hash(&left, &hash);
            rest >>= 1;
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root; of the empty tree the hash of nothing.
    pub fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        let Some(&last) = peaks.next() else {
            return Digest::of(b"");
        };
        peaks.fold(last, |right, left| node_hash(left, &right))
    }
}

/// RFC 6962 section 2.1: the hash of a leaf is that of a zero byte and the leaf.
pub fn leaf_hash(leaf: &[u8]) -> Digest {
    let mut builder = DigestBuilder::new();
    builder.update(&[0]);
    builder.update(leaf);
    builder.finish()
}

/// RFC 6962 section 2.1: the hash of a node is that of a one byte and its two children.
fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut bytes = [1u8; 65];
    let (_, children) = bytes.split_at_mut(1);
    let (first, second) = children.split_at_mut(32);
    first.copy_from_slice(left.as_bytes());
    second.copy_from_slice(right.as_bytes());
    Digest::of(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition of RFC 6962 section 2.1, word for word.
    fn root_by_definition(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => Digest::of(b""),
            [only] => *only,
            _ => {
                let mut k = 1;
                while k * 2 < leaves.len() {
                    k *= 2;
                }
                let (left, right) = leaves.split_at(k);
                node_hash(&root_by_definition(left), &root_by_definition(right))
            }
        }
    }

    #[test]
    fn the_root_is_that_of_the_definition_for_every_small_size() {
        // proves RFC 6962 section 2.1
        let mut tree = Tree::empty();
        let mut leaves = Vec::new();
        for n in 0u32..200 {
            assert_eq!(tree.root(), root_by_definition(&leaves), "{n}");
            let leaf = leaf_hash(&n.to_be_bytes());
            tree.append(leaf);
            leaves.push(leaf);
        }
        assert_eq!(tree.size(), 200);
    }

    #[test]
    fn known_roots_are_reproduced() {
        // The test vectors that certificate transparency implementations share.
        let inputs: [&[u8]; 3] = [b"", b"\x00", b"\x10"];
        let mut tree = Tree::empty();
        assert_eq!(
            tree.root().hex(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        for input in inputs {
            tree.append(leaf_hash(input));
        }
        assert_eq!(
            tree.root().hex(),
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"
        );
    }
}
