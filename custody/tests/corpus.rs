//! The seeds of this crate's fuzz targets, replayed.

#[path = "../../fuzz/targets/agent_token.rs"]
mod agent_token;
#[path = "../../fuzz/targets/body_codings.rs"]
mod body_codings;
#[path = "../../fuzz/targets/minted_tokens.rs"]
mod minted_tokens;
#[path = "../../fuzz/targets/oauth_challenge.rs"]
mod oauth_challenge;
#[path = "../../fuzz/targets/oauth_metadata.rs"]
mod oauth_metadata;
#[path = "../../fuzz/targets/oauth_token.rs"]
mod oauth_token;
#[path = "../../fuzz/targets/placeholder_slots.rs"]
mod placeholder_slots;
#[path = "../../fuzz/targets/redactor_splits.rs"]
mod redactor_splits;
#[path = "../../fuzz/replay.rs"]
mod replay;
#[path = "../../fuzz/targets/response_text.rs"]
mod response_text;
#[path = "../../fuzz/targets/sd_jwt.rs"]
mod sd_jwt;
#[path = "../../fuzz/targets/sigv4.rs"]
mod sigv4;
#[path = "../../fuzz/targets/status_list.rs"]
mod status_list;
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
fn the_seeds_of_minted_tokens_hold() {
    replay::replay("minted_tokens", minted_tokens::run);
}

#[test]
fn the_seeds_of_oauth_challenge_hold() {
    replay::replay("oauth_challenge", oauth_challenge::run);
}

#[test]
fn the_seeds_of_oauth_metadata_hold() {
    replay::replay("oauth_metadata", oauth_metadata::run);
}

#[test]
fn the_seeds_of_oauth_token_hold() {
    replay::replay("oauth_token", oauth_token::run);
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

#[test]
fn the_seeds_of_sd_jwt_hold() {
    replay::replay("sd_jwt", sd_jwt::run);
}

#[test]
fn the_seeds_of_status_list_hold() {
    replay::replay("status_list", status_list::run);
}

#[test]
fn the_seeds_of_sigv4_hold() {
    replay::replay("sigv4", sigv4::run);
}
