//! Risk: what speaks against a call stands in its receipt, asks a human where the score says so, and never lets anything
//! through.
#![cfg(test)]

mod support;

use std::{collections::BTreeSet, sync::Arc};

use exeat_ledger::Receipt;
use http::Request;
use support::{API, Rig, world};

const RISK: &str = "\n[risk]\ntrusted = [\"https://api.test\"]\n";

fn rules(rig: &Rig, more: &str) {
    let policy = world::policy(&world::ALL_TOOLS, &format!("{}{more}", world::RULES));
    rig.change(|now| now.policy = Arc::new(policy));
}

/// The signals of the newest receipt.
async fn signals(rig: &Rig, receipts: usize) -> BTreeSet<String> {
    let all = rig.receipts(receipts).await;
    let newest = all.iter().max_by_key(|receipt| receipt.seq).unwrap();
    let risk = match (&newest.intent, &newest.refusal) {
        (Some(intent), _) => intent.risk.as_ref(),
        (None, Some(refusal)) => refusal.risk.as_ref(),
        (None, None) => None,
    };
    let named = risk.iter().flat_map(|risk| risk.signals.keys());
    named.cloned().collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_use_is_in_the_receipt_and_a_second_is_not() {
    let rig = Rig::start().await;
    rig.client.get(API, "/echo").await;
    assert_eq!(signals(&rig, 1).await, names(&["new-host", "new-tool"]));
    rig.client.get(API, "/echo").await;
    assert_eq!(signals(&rig, 2).await, names(&[]));
    rig.client.send(API, Request::head("/echo")).await;
    assert_eq!(signals(&rig, 3).await, names(&["new-tool"]));
    let runs = rig.receipts(3).await;
    let runs: BTreeSet<_> = runs.iter().map(run).collect();
    assert_eq!(runs.len(), 1, "one agent, one run");
}

fn run(receipt: &Receipt) -> String {
    let intent = receipt.intent.as_ref().unwrap();
    intent.run.as_ref().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_score_has_somebody_asked_and_nobody_passes_without() {
    let rig = Rig::start().await;
    rules(
        &rig,
        "\n[risk]\nprompt-at = 30\ntrusted = [\"https://api.test\"]\n",
    );
    let request = Request::get("/echo").header("prefer", "wait=0");
    let answer = rig.client.send(API, request).await;
    assert_eq!(answer.reason(), "approval-required", "{}", answer.text());
    assert!(rig.upstream.seen().is_empty(), "nothing left");
    assert_eq!(signals(&rig, 1).await, names(&["new-host", "new-tool"]));
    // Another weight, and the same call is usual enough.
    let light =
        "\n[risk]\nprompt-at = 30\ntrusted = [\"https://api.test\"]\nweights = { new-host = 0 }\n";
    rules(&rig, light);
    assert_eq!(rig.client.get(API, "/echo").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rule_denies_stays_denied_whatever_the_score() {
    let rig = Rig::start().await;
    for more in [
        "",
        "\n[risk]\nprompt-at = 1\n",
        "\n[risk]\nweights = { new-host = 0 }\n",
    ] {
        rules(&rig, more);
        let answer = rig.client.send(API, Request::delete("/echo")).await;
        assert_eq!(answer.reason(), "policy-forbids");
        let answer = rig.client.get(API, "/a/b/c").await;
        assert_eq!(answer.reason(), "tool-unknown");
    }
    assert!(rig.upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn content_of_an_origin_that_nobody_trusts_marks_the_run() {
    let rig = Rig::start().await;
    rules(&rig, RISK);
    rig.client.get(API, "/echo").await;
    rig.client.get(API, "/echo").await;
    let none = names(&[]);
    assert_eq!(
        signals(&rig, 2).await,
        none,
        "a trusted origin marks nothing"
    );
    rules(&rig, "\n[risk]\ntrusted = [\"https://elsewhere.test\"]\n");
    rig.client.get(API, "/echo").await;
    assert_eq!(signals(&rig, 3).await, none, "nothing was read yet");
    rig.client.get(API, "/echo").await;
    assert_eq!(signals(&rig, 4).await, names(&["untrusted-content"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_injection_marker_marks_the_run_even_from_a_trusted_origin() {
    let rig = Rig::start().await;
    let tools = world::TOOLS.replace(
        "description = \"Any page\"",
        "description = \"Any page\"\n[tool.response]\nmarkers = true\ntext = \"strip\"",
    );
    let policy = world::policy(
        &[&tools, world::OPEN_TOOLS, world::PLAIN_TOOLS],
        &format!("{}{RISK}", world::RULES),
    );
    rig.change(|now| now.policy = Arc::new(policy));
    rig.client.get(API, "/letter").await;
    rig.client.get(API, "/echo").await;
    assert_eq!(signals(&rig, 2).await, names(&["untrusted-content"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misused_placeholder_weighs_on_the_rest_of_the_run() {
    let rig = Rig::start().await;
    let request = Request::get("/echo").header("x-other", world::placeholder());
    let answer = rig.client.send(API, request).await;
    assert_eq!(answer.reason(), "placeholder-misused", "{}", answer.text());
    rig.client.get(API, "/echo").await;
    assert_eq!(signals(&rig, 2).await, names(&["placeholder-alarm"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_used_before_a_restart_is_not_new_after_it() {
    let temporary = tempfile::tempdir().unwrap();
    let rig = Rig::on(temporary.path(), world::ledger(temporary.path()), None).await;
    rig.client.get(API, "/echo").await;
    rig.receipts(1).await;
    // Another gate on what is written, with nothing of the first one's memory.
    let rig = Rig::on(temporary.path(), rig.ledger.clone(), None).await;
    let agent = support::agent("tester");
    let host = exeat_types::Host::parse(API).unwrap();
    assert!(
        !rig.gate.history().knows_host(&agent, &host),
        "what is not read counts as new"
    );
    rig.gate.remember().unwrap();
    assert!(rig.gate.history().knows_host(&agent, &host));
    rig.client.get(API, "/echo").await;
    assert_eq!(signals(&rig, 2).await, names(&[]));
}
