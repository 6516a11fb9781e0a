//! Capability requests, answered with a passkey on the console's page in a real Chromium, and judged by three verifiers.

use serde_json::{Value, json};

use crate::{
    passkeys::{Plan, TOKEN, World},
    site::{Site, seen},
};

const TOOLS: &str = r#"
[api]
name = "pay"
origin = "https://api.pay.test"
credential = "pay"

[[tool]]
name = "transfers.create"
request = "POST /transfers"
category = "write"
[tool.input.body]
type = "object"
required = ["amount"]
additionalProperties = false
properties = { amount = { type = "integer" } }

[[tool]]
name = "transfers.drop"
request = "DELETE /transfers/{id}"
category = "delete"

[[tool]]
name = "notes.create"
request = "POST /notes"
category = "write"
[tool.input.body]
type = "object"
additionalProperties = false
properties = { text = { type = "string" } }
"#;

#[test]
fn a_person_grants_a_part_of_what_is_asked_for_and_only_that_passes() {
    let plan = Plan {
        tools: TOOLS,
        policy: "", // what is not spoken of is refused
        ..Plan::default()
    };
    let world = World::with(Site::new(&["api.pay.test"]), &plan);
    let asked = world.value(&[
        "request",
        "--agent",
        "coder",
        "transact",
        "pay.transfers.create",
        "--max-value",
        "50",
        "--for",
        "2h",
        "--why",
        "the invoices of May",
    ]);
    let id = asked["id"].as_str().unwrap();
    let steps = world.browse("requests.mjs", &["--request", id]);
    let expected = [
        (
            "transact",
            json!({
                "before": 403, "said": true, "stopped": true, "unconfirmed": 400, "waiting": 403,
                "inForce": true, "passes": 200, "more": 403,
            }),
        ),
        ("part", json!({ "asked": 2, "notes": 200, "drops": 403 })),
        (
            "forged",
            json!({
                "unsigned": 403, "longer": 400, "other": 400, "widened": 403, "good": 200, "inTime": true,
                "twice": 409,
            }),
        ),
        ("denied", json!({ "drops": 403, "again": 429 })),
        ("taken-back", json!({ "pays": 403, "notes": 200 })),
        ("page", json!({ "errors": [] })),
    ];
    for (step, outcome) in &expected {
        assert_eq!(steps.get(*step), Some(outcome), "{step}");
    }
    assert_eq!(steps.len(), expected.len());

    let lines: Vec<Value> = seen(&world.site.outside("seen"));
    let lines: Vec<&str> = lines.iter().filter_map(|it| it["line"].as_str()).collect();
    assert_eq!(lines, ["POST /transfers", "POST /notes", "POST /notes"]);
    let listed = world
        .site
        .own(&["--json", "grant", "list"].map(AsRef::as_ref), b"");
    let listed: Vec<Value> = listed
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    let of = |wanted: &str| listed.iter().filter(|one| one["state"] == wanted).count();
    assert_eq!((of("approved"), of("revoked"), of("denied")), (2, 1, 1));

    let (ours, python, judge) = world.judged();
    for word in ["approved", "approved_unsigned", "calls", "complete_to"] {
        assert!(ours[word].is_number(), "{word}: {ours}");
        assert_eq!(ours[word], python[word], "{word}: {ours} {python}");
    }
    let expected = json!({ "enrolled": 1, "vouched": 0, "granted": 3, "refused": 0 });
    assert_eq!(judge, expected);
    world.site.holds_none_of(&[TOKEN]);
}
