//! Texts inside events: cut, mixed, ended, and put together again.

use std::sync::Arc;

use exeat_types::Secret;
use proptest::prelude::*;

use super::{super::Patterns, *};

const SECRET: &str = "CANARY-deltas-0001";

fn paths(pointers: &[&str]) -> Vec<DeltaPath> {
    pointers.iter().map(|p| DeltaPath::of_pointer(p)).collect()
}

fn deltas(pointers: &[&str]) -> Deltas {
    let secret = Secret::new(SECRET.as_bytes().to_vec());
    let patterns = Arc::new(Patterns::compile(&[("k", &secret)], &[]).unwrap());
    Deltas::new(
        patterns,
        &TextRules::default(),
        paths(pointers),
        Pieces::Events,
    )
}

fn run(pointers: &[&str], events: &str, size: usize) -> String {
    let (mut deltas, mut out) = (deltas(pointers), Vec::new());
    for chunk in events.as_bytes().chunks(size) {
        deltas.push(chunk, &mut out).unwrap();
    }
    deltas.finish(&mut out).unwrap();
    assert_eq!(deltas.held(), 0);
    String::from_utf8(out).unwrap()
}

#[track_caller]
fn check(pointers: &[&str], events: &str, expected: &str) {
    for size in [1, 2, 10, 100_000] {
        assert_eq!(run(pointers, events, size), expected, "chunks of {size}");
    }
}

fn anthropic(index: u32, text: &str) -> String {
    let text = Value::from(text);
    format!(
        "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":{index},\
         \"delta\":{{\"type\":\"text_delta\",\"text\":{text}}}}}\n\n"
    )
}

#[test]
fn a_secret_over_several_events_of_one_text_is_found() {
    let stop = "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n";
    let event = |text| anthropic(0, text);
    let input = [
        event("key: CANARY"),
        event("-del"),
        event("tas-0001, ok"),
        stop.to_owned(),
    ];
    let output = [
        event("key: "),
        event(""),
        event("[redacted:k], ok"),
        stop.to_owned(),
    ];
    check(&["/delta/text"], &input.concat(), &output.concat());
}

#[test]
fn texts_do_not_mix_and_what_is_no_secret_follows_before_the_end() {
    let stop = "data: {\"type\":\"content_block_stop\",\"index\":0}\n\n".to_owned();
    let ping = "event: ping\ndata: {\"type\": \"ping\"}\n\n: comment\n\n".to_owned();
    let input = [
        anthropic(0, "a CANARY-"),
        anthropic(1, "deltas-0001"),
        ping.clone(),
        stop.clone(),
        "data: [DONE]\n\n".to_owned(),
    ];
    let output = [
        anthropic(0, "a "),
        anthropic(1, "deltas-0001"),
        ping,
        anthropic(0, "CANARY-"),
        stop,
        "data: [DONE]\n\n".to_owned(),
    ];
    check(&["/delta/text"], &input.concat(), &output.concat());
}

#[test]
fn choices_are_texts_of_their_own() {
    let chunk = |index: u32, text: &str, finish: &str| {
        format!(
            "data: {{\"choices\":[{{\"index\":{index},\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    let input = [
        chunk(0, "CANARY-", "null"),
        chunk(1, "CANARY-del", "null"),
        chunk(0, "deltas-0001", "null"),
        chunk(1, "ight", "\"stop\""),
    ];
    let output = [
        chunk(0, "", "null"),
        chunk(1, "", "null"),
        chunk(0, "[redacted:k]", "null"),
        chunk(1, "CANARY-delight", "\"stop\""),
    ];
    check(
        &["/choices/delta/content"],
        &input.concat(),
        &output.concat(),
    );
}

#[test]
fn an_event_that_did_not_change_leaves_as_it_came_and_at_once() {
    let mut deltas = deltas(&["/delta/text"]);
    for event in [
        "data:  {\"delta\" : {\"text\":\"plain \\u00e9\"}}\r\n\r\n",
        "id: 4\ndata: {\"delta\":\ndata: {\"text\":\"two lines\"}}\n\n",
        "data: not json CANARY-\n\n",
        "retry: 10\n\n",
    ] {
        let mut out = Vec::new();
        deltas.push(event.as_bytes(), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), event);
        assert_eq!(deltas.held(), 0);
    }
}

#[test]
fn lines_of_json_are_events_too() {
    let secret = Secret::new(SECRET.as_bytes().to_vec());
    let patterns = Arc::new(Patterns::compile(&[("k", &secret)], &[]).unwrap());
    let mut deltas = Deltas::new(
        patterns,
        &TextRules::default(),
        paths(&["/response"]),
        Pieces::Lines,
    );
    let mut out = Vec::new();
    deltas
        .push(
            b"{\"response\":\"CANARY-del\"}\n{\"response\":\"tas-0001\"}\n",
            &mut out,
        )
        .unwrap();
    deltas.finish(&mut out).unwrap();
    assert_eq!(
        out,
        b"{\"response\":\"\"}\n{\"response\":\"[redacted:k]\"}\n"
    );
}

#[test]
fn what_grows_without_end_is_refused() {
    let (mut stream, mut out) = (deltas(&["/delta/text"]), Vec::new());
    let long = vec![b'x'; 1 << 20];
    let result = (0..10).try_for_each(|_| stream.push(&long, &mut out));
    assert_eq!(result, Err(Unsafe::Held("an event")));
    let many: String = (0..=512).map(|index| anthropic(index, "x")).collect();
    let result = deltas(&["/delta/text"]).push(many.as_bytes(), &mut out);
    assert_eq!(result, Err(Unsafe::Held("the texts of a stream")));
}

#[test]
fn a_text_that_ended_is_forgotten_but_for_what_was_found() {
    let (mut stream, mut out) = (deltas(&["/delta/text"]), Vec::new());
    for index in 0..2000 {
        let stop = format!("data: {{\"type\":\"content_block_stop\",\"index\":{index}}}\n\n");
        let events = [
            anthropic(index, "CANARY-"),
            anthropic(index, "deltas-0001"),
            stop,
        ];
        stream.push(events.concat().as_bytes(), &mut out).unwrap();
        assert!(stream.texts.is_empty());
    }
    assert_eq!(stream.hits()["k"], 2000);
}

/// The text that an agent puts together again.
fn assembled(events: &str) -> String {
    let documents = events
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    let text = |document: &str| {
        let document: Value = serde_json::from_str(document).unwrap();
        document["delta"]["text"].as_str().map(str::to_owned)
    };
    documents.filter_map(text).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn however_a_text_is_cut_into_events_it_reads_as_if_it_were_whole(
        parts in prop::collection::vec(prop::sample::select(vec![
            SECRET, "CANARY-", "deltas-", "0001", " and ", "\u{e9}", "CANARY-deltas-000", "\"quoted\"",
        ]), 0..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        size in 1..200usize,
    ) {
        let text = parts.concat();
        let characters: Vec<char> = text.chars().collect();
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(characters.len() + 1)).collect();
        places.extend([0, characters.len()]);
        places.sort_unstable();
        let pieces = places.windows(2).map(|pair| characters[pair[0]..pair[1]].iter().collect::<String>());
        let events: String = pieces.map(|piece| anthropic(0, &piece)).collect();
        let out = assembled(&run(&["/delta/text"], &events, size));
        prop_assert!(!out.contains(SECRET));
        prop_assert_eq!(out, text.replace(SECRET, "[redacted:k]"));
    }
}
