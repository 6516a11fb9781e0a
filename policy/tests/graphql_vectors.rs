//! What is read in a document, against the reference implementation: `vectors/graphql.mjs` made the answers with graphql-js.
#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use exeat_policy::graphql::{Asked, Detail, parse};
use serde_json::{Value, json};

const VECTORS: &str = include_str!("vectors/graphql.jsonl");

fn read(query: &str) -> Result<Asked, String> {
    let names = query.contains("N1") && query.contains("N2");
    let mut body = json!({"query": query});
    if names {
        body["operationName"] = "N1".into();
    }
    parse(body.to_string().as_bytes(), Detail::Fields).map_err(|problem| problem.to_string())
}

/// What may be refused although the reference implementation parses it.
const STRICTER: [&str; 9] = [
    "circle",
    "not in the document",
    "no operation",
    "same name",
    "has no name",
    "none is named",
    "different kinds",
    "line separator",
    "names no operation",
];

#[test]
fn the_reference_implementation_reads_the_same_fields() {
    let (mut alike, mut refused) = (0, 0);
    for line in VECTORS.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let query = line["query"].as_str().unwrap();
        match (read(query), &line["read"]) {
            (Err(_), Value::Null) => refused += 1,
            (Err(problem), _) => {
                // Comments and commas inside a field or a spread are not parsed.
                let comment = query.contains(['#', ',']) && problem.contains("does not parse");
                let known = comment || STRICTER.iter().any(|word| problem.contains(word));
                assert!(known, "{query}: {problem}");
                refused += 1;
            }
            (Ok(asked), read) => {
                assert_eq!(read["kinds"], json!([asked.operation.name()]), "{query}");
                assert_eq!(read["fields"], json!(asked.fields), "{query}");
                assert_eq!(read["selects"], json!(asked.selects), "{query}");
                alike += 1;
            }
        }
    }
    assert!(
        alike > 80 && refused > 50,
        "{alike} read, {refused} refused"
    );
}
