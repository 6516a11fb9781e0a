//! The seeds of this crate's fuzz targets, replayed.

#[path = "../../fuzz/targets/git_push.rs"]
mod git_push;
#[path = "../../fuzz/targets/path_match.rs"]
mod path_match;
#[path = "../../fuzz/replay.rs"]
mod replay;
#[path = "../../fuzz/targets/tool_toml.rs"]
mod tool_toml;

#[test]
fn the_seeds_of_git_push_hold() {
    replay::replay("git_push", git_push::run);
}

#[test]
fn the_seeds_of_path_match_hold() {
    replay::replay("path_match", path_match::run);
}

#[test]
fn the_seeds_of_tool_toml_hold() {
    replay::replay("tool_toml", tool_toml::run);
}
