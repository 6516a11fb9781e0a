//! Local root, leaf minting and cache, trust bundles.
