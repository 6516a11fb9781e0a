//! The seeds of this crate's fuzz targets, replayed.

#[path = "../../fuzz/targets/argv_template.rs"]
mod argv_template;
#[path = "../../fuzz/targets/git_object.rs"]
mod git_object;
#[path = "../../fuzz/targets/git_push.rs"]
mod git_push;
#[path = "../../fuzz/targets/graphql.rs"]
mod graphql;
#[path = "../../fuzz/targets/llm_body.rs"]
mod llm_body;
#[path = "../../fuzz/targets/path_match.rs"]
mod path_match;
#[path = "../../fuzz/replay.rs"]
mod replay;
#[path = "../../fuzz/targets/tool_toml.rs"]
mod tool_toml;

#[test]
fn the_seeds_of_argv_template_hold() {
    replay::replay("argv_template", argv_template::run);
}

#[test]
fn the_seeds_of_git_object_hold() {
    replay::replay("git_object", git_object::run);
}

#[test]
fn the_seeds_of_git_push_hold() {
    replay::replay("git_push", git_push::run);
}

#[test]
fn the_seeds_of_graphql_hold() {
    replay::replay("graphql", graphql::run);
}

#[test]
fn the_seeds_of_llm_body_hold() {
    replay::replay("llm_body", llm_body::run);
}

#[test]
fn the_seeds_of_path_match_hold() {
    replay::replay("path_match", path_match::run);
}

#[test]
fn the_seeds_of_tool_toml_hold() {
    replay::replay("tool_toml", tool_toml::run);
}
