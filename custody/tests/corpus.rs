//! The seeds of this crate's fuzz targets, replayed.

#[path = "../../fuzz/targets/agent_token.rs"]
mod agent_token;
#[path = "../../fuzz/targets/body_codings.rs"]
mod body_codings;
#[path = "../../fuzz/targets/placeholder_slots.rs"]
mod placeholder_slots;
#[path = "../../fuzz/targets/redactor_splits.rs"]
mod redactor_splits;
#[path = "../../fuzz/replay.rs"]
mod replay;
#[path = "../../fuzz/targets/response_text.rs"]
mod response_text;
#[path = "../../fuzz/targets/websocket_frames.rs"]
mod websocket_frames;

#[test]
fn the_seeds_of_agent_token_hold() {
    replay::replay("agent_token", agent_token::run);
}

#[test]
fn the_seeds_of_body_codings_hold() {
    replay::replay("body_codings", body_codings::run);
}

#[test]
fn the_seeds_of_placeholder_slots_hold() {
    replay::replay("placeholder_slots", placeholder_slots::run);
}

#[test]
fn the_seeds_of_redactor_splits_hold() {
    replay::replay("redactor_splits", redactor_splits::run);
}

#[test]
fn the_seeds_of_response_text_hold() {
    replay::replay("response_text", response_text::run);
}

#[test]
fn the_seeds_of_websocket_frames_hold() {
    replay::replay("websocket_frames", websocket_frames::run);
}
