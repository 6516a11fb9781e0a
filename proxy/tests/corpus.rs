//! The seeds of this crate's fuzz targets, replayed.

#[path = "../../fuzz/targets/framing.rs"]
mod framing;
#[path = "../../fuzz/replay.rs"]
mod replay;

#[test]
fn the_seeds_of_framing_hold() {
    replay::replay("framing", framing::run);
}
