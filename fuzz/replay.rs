//! Replays the seeds of a fuzz target in ordinary tests: what a fuzzer starts from has to hold in every build.

use std::path::Path;

/// Runs a target over every seed it has; there has to be one.
pub(crate) fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let seeds = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let count = seeds
        .filter_map(|seed| std::fs::read(seed.path()).ok())
        .map(|seed| run(&seed))
        .count();
    assert!(count > 0, "no seeds in {}", folder.display());
}
