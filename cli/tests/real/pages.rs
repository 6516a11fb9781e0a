//! The pages of the console in a real Chromium, judged by axe-core: light, dark, on a phone, by keyboard. Screenshots are kept
//! in the folder `EXEAT_ARTEFACTS`, or else under the target folder.

use std::path::PathBuf;

use serde_json::json;

use crate::passkeys::World;

const TOKEN: &str = "CANARY-pay-token-9Kd3";

/// The folder whose content is kept after a run.
#[expect(
    clippy::disallowed_methods,
    reason = "whoever starts the tests says where"
)]
fn artefacts() -> PathBuf {
    let kept = std::env::var_os("EXEAT_ARTEFACTS");
    kept.map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from)
}

#[test]
fn every_page_works_in_light_and_dark_on_a_phone_and_by_keyboard() {
    let world = World::new();
    let shots = artefacts().join("console");
    let steps = world.browse("pages.mjs", &["--shots", shots.to_str().unwrap()]);
    let pages = [
        "sign-in",
        "live",
        "approvals",
        "approval",
        "agents",
        "policy",
        "budgets",
        "credentials",
        "receipts",
        "receipt",
        "health",
        "account",
        "pair",
        "nowhere",
    ];
    let empty = pages.iter().map(|page| format!("empty-{page}"));
    let all = pages.iter().map(|page| (*page).to_owned()).chain(empty);
    for page in all {
        let Some(step) = steps.get(&page) else {
            let never_empty = ["empty-sign-in", "empty-approval", "empty-receipt"];
            assert!(never_empty.contains(&page.as_str()), "{page}");
            continue;
        };
        let clean = json!({ "problems": [], "aside": 0, "errors": [] });
        assert_eq!(*step, clean, "{page}");
    }
    let expected = [
        ("keyboard", json!({ "state": "granted", "passed": true })),
        (
            "shown",
            json!({ "spelled": true, "complete": true, "compared": true }),
        ),
        (
            "live-opened",
            json!({ "problems": [], "sifted": 2, "errors": [] }),
        ),
        ("tried", json!({ "asks": true })),
        (
            "paused",
            json!({ "code": "urn:exeat:reason:agent-paused", "unsigned": 403 }),
        ),
        ("signed-out", json!({ "at": "/sign-in" })),
        ("secrets", json!({ "found": 0 })),
        (
            "strangers",
            json!({
                "otherHost": 421, "address": 421, "noOrigin": 403, "otherOrigin": 403, "framed": 403,
                "page": 303, "api": 401, "events": 401, "change": 401,
            }),
        ),
    ];
    for (step, outcome) in &expected {
        assert_eq!(steps.get(*step), Some(outcome), "{step}");
    }
    world.site.holds_none_of(&[TOKEN]);
}
