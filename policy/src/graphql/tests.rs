//! What a body asks for, and what is refused because servers could read it in two ways.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Asked, Detail, Operation, parse};

fn of(query: &str) -> Result<Asked, String> {
    asked(&json!({"query": query}))
}

fn asked(body: &Value) -> Result<Asked, String> {
    parse(body.to_string().as_bytes(), Detail::Fields).map_err(|problem| problem.to_string())
}

/// The fields at the top and at any depth.
#[track_caller]
fn check(query: &str, operation: Operation, tops: &[&str], all: &[&str]) {
    let asked = of(query).unwrap_or_else(|problem| panic!("{query}: {problem}"));
    assert_eq!(asked.operation, operation, "{query}");
    assert_eq!(Vec::from_iter(&asked.fields), tops, "{query}");
    assert_eq!(Vec::from_iter(&asked.selects), all, "{query}");
}

#[track_caller]
fn refuse(body: &Value, because: &str) {
    let problem = asked(body).expect_err(&body.to_string());
    assert!(problem.contains(because), "{body}: {problem}");
}

#[test]
fn fields_are_seen_by_their_real_names_wherever_they_stand() {
    use Operation::{Mutation, Query, Subscription};
    check("{ a { b } c }", Query, &["a", "c"], &["a", "b", "c"]);
    check(
        "query { harmless: secret }",
        Query,
        &["secret"],
        &["secret"],
    );
    check(
        "mutation M($x: ID!) { ok: drop(id: $x) { id } }",
        Mutation,
        &["drop"],
        &["drop", "id"],
    );
    check("subscription { s }", Subscription, &["s"], &["s"]);
    check(
        "mutation { ...F } fragment F on Mutation { drop }",
        Mutation,
        &["drop"],
        &["drop"],
    );
    check(
        "mutation { ...F } fragment F on Mutation { ... on Mutation { ... { drop { id } } } }",
        Mutation,
        &["drop"],
        &["drop", "id"],
    );
    check(
        "mutation { a @skip(if: true) ...F @include(if: false) } fragment F on M { drop }",
        Mutation,
        &["a", "drop"],
        &["a", "drop"],
    );
    check(
        "{ a { ...F } ...F } fragment F on X { deep { inner } }",
        Query,
        &["a", "deep"],
        &["a", "deep", "inner"],
    );
    check("# mutation { drop }\r\n{ a }", Query, &["a"], &["a"]);
    check("{ a(text: \"mutation { drop }\") }", Query, &["a"], &["a"]);
    check(
        "{ a(text: \"\"\"} mutation { drop }\"\"\") }",
        Query,
        &["a"],
        &["a"],
    );
    check("\u{feff}{ a,,,b }", Query, &["a", "b"], &["a", "b"]);
    check(
        "query query { query mutation }",
        Query,
        &["mutation", "query"],
        &["mutation", "query"],
    );
}

#[test]
fn names_directives_depth_and_count_are_told() {
    let asked = of("query Q($v: Int @c) @live { a @b { ...F } } fragment F on X { d { e } }");
    let asked = asked.unwrap();
    assert_eq!(Vec::from_iter(&asked.names), ["Q"]);
    assert_eq!(Vec::from_iter(&asked.directives), ["b", "c", "live"]);
    assert_eq!((asked.depth, asked.count), (3, 1));
}

#[test]
fn every_operation_of_a_document_and_of_a_batch_counts() {
    let two = "query A { a } query B { b }";
    let body = json!({"query": two, "operationName": "A"});
    assert_eq!(Vec::from_iter(asked(&body).unwrap().fields), ["a", "b"]);
    let batch = json!([{"query": "{ a }"}, {"query": "{ x: b }"}]);
    let batch = asked(&batch).unwrap();
    assert_eq!(
        (Vec::from_iter(batch.fields), batch.count),
        (vec!["a".to_owned(), "b".to_owned()], 2)
    );
    refuse(&json!({"query": two}), "none is named");
    refuse(&json!({"query": two, "operationName": ""}), "none is named");
    refuse(
        &json!({"query": two, "operationName": "C"}),
        "names no operation",
    );
    refuse(
        &json!({"query": "query A { a }", "operationName": "B"}),
        "names no operation",
    );
    refuse(
        &json!({"query": "{ a }", "operationName": "B"}),
        "names no operation",
    );
    refuse(
        &json!({"query": "query A { a } query A { b }", "operationName": "A"}),
        "same name",
    );
    refuse(
        &json!({"query": "query A { a } { b }", "operationName": "A"}),
        "no name",
    );
    let mixed = json!({"query": "query A { a } mutation B { b }", "operationName": "A"});
    refuse(&mixed, "different kinds");
    refuse(
        &json!([{"query": "{ a }"}, {"query": "mutation { b }"}]),
        "different kinds",
    );
    refuse(&json!([]), "empty batch");
    refuse(
        &Value::from(vec![json!({"query": "{ a }"}); 33]),
        "more than 32",
    );
    refuse(&json!([[{"query": "{ a }"}]]), "expected an object");
}

#[test]
fn a_document_that_only_the_server_has_is_refused() {
    let hash = exeat_types::Digest::of(b"{ a }").hex();
    let extended = |hash: &str| json!({"query": "{ a }", "extensions": {"persistedQuery": {"version": 1, "sha256Hash": hash}}});
    assert!(asked(&extended(&hash)).is_ok());
    refuse(
        &extended(&exeat_types::Digest::of(b"{ b }").hex()),
        "not the hash",
    );
    refuse(&extended(&hash.to_uppercase()), "not the hash");
    let alone = json!({"extensions": {"persistedQuery": {"version": 1, "sha256Hash": hash}}});
    refuse(&alone, "only the server has");
    for member in ["id", "documentId", "doc_id", "queryId", "hash", "Query"] {
        refuse(&json!({"query": "{ a }", member: "x"}), "no member");
    }
    refuse(
        &json!({"query": "{ a }", "extensions": {"other": 1}}),
        "not known",
    );
    refuse(&json!({"query": ""}), "not the text");
    refuse(&json!({"query": null}), "not the text");
    refuse(&json!({"query": ["{ a }"]}), "not the text");
    refuse(
        &json!({"query": "{ a }", "variables": "{}"}),
        "not an object",
    );
    refuse(&json!({"query": "{ a }", "operationName": 1}), "not a name");
    refuse(&json!("{ a }"), "expected an object");
}

#[test]
fn documents_that_could_be_read_in_two_ways_are_refused() {
    for (query, because) in [
        ("{ a } # x\u{2028} mutation { b }", "line separator"),
        ("{ a ", "does not parse"),
        ("{ a }}", "does not parse"),
        ("{}", "does not parse"),
        ("{ a } garbage", "does not parse"),
        (
            "{ ...F } fragment F on X { ...G } fragment G on X { ...F }",
            "circle",
        ),
        ("{ ...F } fragment F on X { a { ...F } }", "circle"),
        ("{ ...F }", "not in the document"),
        (
            "{ ...F } fragment F on X { a } fragment F on X { b }",
            "same name",
        ),
        ("fragment F on X { a }", "no operation"),
        ("type Query { a: Int } { a }", "only operations"),
        ("\u{0}{ a }", "does not parse"),
        ("{ \u{430} }", "does not parse"),
    ] {
        refuse(&json!({"query": query}), because);
    }
    let deep = format!("{}a{}", "{a".repeat(80), "}".repeat(80));
    refuse(&json!({"query": deep}), "does not parse");
    let wide = format!("{{ {} }}", "a ".repeat(20_000));
    refuse(&json!({"query": wide}), "does not parse");
    let chain: String = (0..200)
        .map(|n| format!("fragment F{n} on X {{ a {{ ...F{} }} }} ", n + 1))
        .collect();
    let chain = format!("{{ ...F0 }} {chain} fragment F200 on X {{ a }}");
    refuse(&json!({"query": chain}), "too deeply");
}

#[test]
fn many_spreads_of_many_fragments_are_visited_once() {
    let layers: String = (0..30)
        .map(|n| {
            format!(
                "fragment F{n} on X {{ ...F{m} ...F{m} b{n}: f{n} }} ",
                m = n + 1
            )
        })
        .collect();
    let query = format!("{{ ...F0 ...F0 }} {layers} fragment F30 on X {{ end }}");
    assert_eq!(of(&query).unwrap().fields.len(), 31);
}

#[test]
fn arguments_have_their_variables_put_in() {
    let read = |body: Value| parse(body.to_string().as_bytes(), Detail::Arguments);
    let query = r#"mutation($t: String = "none", $i: I!, $gone: Int, $n: Int) {
        __typename x: make(a: $t, b: {c: [1, 2.5, $n], d: RED, e: true, f: null, g: $gone}, h: $i, k: "l\u0041") { id } }"#;
    let body = json!({"query": query, "variables": {"i": {"team": "T"}, "extra": 1}});
    let found = read(body).unwrap().arguments.unwrap();
    let expect = json!({
        "a": "none", "b": {"c": [1, 2.5, null], "d": "RED", "e": true, "f": null},
        "h": {"team": "T"}, "k": "lA",
    });
    assert_eq!(found, expect);
    for (query, because) in [
        ("mutation { a(x: 1) b(x: 1) }", "exactly one field"),
        ("mutation { a(x: 1) y: a(x: 2) }", "exactly one field"),
        ("mutation { __typename }", "exactly one field"),
        ("mutation { a(x: 1, x: 2) }", "twice"),
        ("mutation { a(x: {y: 1, y: 2}) }", "twice"),
        ("mutation { a(x: $y) }", "not declared"),
        ("mutation($y: Int, $y: Int) { a(x: $y) }", "twice"),
        ("mutation($y: Int = $z, $z: Int = 1) { a(x: $y) }", ""),
        ("mutation { a(x: 99999999999999999999999) }", "too large"),
        ("mutation A { a } mutation B { a }", ""),
    ] {
        let problem = read(json!({"query": query})).unwrap_err().to_string();
        assert!(problem.contains(because), "{query}: {problem}");
    }
    let batch = json!([{"query": "{ a }"}, {"query": "{ a }"}]);
    assert!(read(batch).is_err());
    let large = "x".repeat(1024 * 1024);
    let many = format!("mutation($v: String) {{ a(x: [{}]) }}", "$v ".repeat(9));
    let problem = read(json!({"query": many, "variables": {"v": large}})).unwrap_err();
    assert!(problem.to_string().contains("too many places"), "{problem}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_reader_fail(text in "[a-c{}()$:@!.\"\\\\#\\n\\r\u{e9}0-9 ]{0,64}") {
        let _read = of(&text).is_ok();
    }

    #[test]
    fn an_alias_never_hides_a_field(alias in "[a-z]{1,8}", field in "[a-z]{1,8}") {
        let asked = of(&format!("mutation {{ {alias}: {field} }}")).unwrap();
        prop_assert_eq!(Vec::from_iter(asked.fields), [field]);
    }
}
