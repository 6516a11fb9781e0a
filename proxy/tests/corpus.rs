//! The seeds of this crate's fuzz targets, replayed.

#[path = "../../fuzz/targets/framing.rs"]
mod framing;
#[path = "../../fuzz/targets/multipart.rs"]
mod multipart;
#[path = "../../fuzz/replay.rs"]
mod replay;

#[test]
fn the_seeds_of_framing_hold() {
    replay::replay("framing", framing::run);
}

#[test]
fn the_seeds_of_multipart_hold() {
    replay::replay("multipart", multipart::run);
}
