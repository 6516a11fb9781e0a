//! The seeds of this crate's fuzz targets, replayed.

#[path = "../../fuzz/targets/authority.rs"]
mod authority;
#[path = "../../fuzz/targets/canonical_json.rs"]
mod canonical_json;
#[path = "../../fuzz/replay.rs"]
mod replay;

#[test]
fn the_seeds_of_authority_hold() {
    replay::replay("authority", authority::run);
}

#[test]
fn the_seeds_of_canonical_json_hold() {
    replay::replay("canonical_json", canonical_json::run);
}
