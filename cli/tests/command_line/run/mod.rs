//! `exeat run` from outside: real sandboxes, and a real terminal where somebody is asked.

mod first;
mod keys;
mod learn;
mod rules;
mod screen;
pub(crate) mod server;

use std::process::Output;

use serde_json::Value;

use crate::support::{Place, text};

/// The configuration of a user who has only said where hosts of a test are.
fn network(ports: &[(&str, u16)]) -> String {
    let hosts: Vec<String> = ports
        .iter()
        .map(|(host, _)| format!("\"{host}:80\""))
        .collect();
    let addresses: Vec<String> = ports
        .iter()
        .map(|(host, port)| format!("\"{host}:80\" = \"127.0.0.1:{port}\""))
        .collect();
    format!(
        "# mine\n[network]\nallow-private = [{}]\nconnect-to = {{ {} }}\n",
        hosts.join(", "),
        addresses.join(", ")
    )
}

/// What a command said on standard error, after it ended with this status.
#[track_caller]
fn said(output: &Output, status: i32) -> String {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{out}\n{err}");
    err
}

/// The last line that a command said.
#[track_caller]
fn last_line(said: &str) -> &str {
    said.lines().last().unwrap_or_default()
}

/// Every receipt of a place whose gate may just be ending.
fn receipts(place: &Place) -> Vec<Value> {
    place.values(&["receipt", "list"])
}
