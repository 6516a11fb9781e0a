//! Notices to an ntfy server and a webhook (both simulated): what goes out, what does not, and that an answer approves nothing.

use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    passkeys::{Plan, TOKEN, World},
    site::{Site, seen},
};

const NTFY_TOKEN: &str = "CANARY-ntfy-token-4Pq8";
const HOOK_PATH: &str = "/services/T000/B000/CANARY-hook-path-7Zs1";
const ARGUMENT: &str = "CANARY-argument-2Lw6";

const CHANNELS: &str = r#"
[[notify]]
kind = "ntfy"
url = "https://ntfy.pay.test"
topic = "exeat"
secret = "sealed:ntfy"
[[notify]]
kind = "webhook"
url = "https://hooks.pay.test"
secret = "sealed:hook"
"#;

/// A notice is sent in its own time, at most after a try or two.
const PATIENCE: Duration = Duration::from_secs(30);

#[expect(
    clippy::disallowed_methods,
    reason = "another process writes the record, and says nothing when it has"
)]
fn wait_for_both(record: &Path) {
    let until = Instant::now() + PATIENCE;
    while seen(record).len() < 2 && Instant::now() < until {
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn notices_say_who_asks_for_what_and_hold_no_argument_and_no_secret() {
    let site = Site::new(&["api.pay.test", "ntfy.pay.test", "hooks.pay.test"]);
    let record = site.outside("notices");
    let server = site.start(
        "node",
        "notices_simulated.mjs",
        &["--record".as_ref(), record.as_os_str()],
    );
    let hosts = [
        ("ntfy.pay.test", server.port),
        ("hooks.pay.test", server.port),
    ];
    let plan = Plan {
        hosts: &hosts,
        more: CHANNELS,
        secrets: &[("ntfy", NTFY_TOKEN), ("hook", HOOK_PATH)],
        ..Plan::default()
    };
    let world = World::with(site, &plan);
    let asked = ask(&world);
    let approval = asked["approval"]["id"].as_str().unwrap();

    wait_for_both(&record);
    let page = format!(
        "{}/approvals/{approval}",
        world.status["console"].as_str().unwrap()
    );
    let notices = seen(&record);
    assert_eq!(notices.len(), 2, "{notices:?}");
    let to = |host: &str| notices.iter().find(|it| it["host"] == host).unwrap();
    let ntfy = to("ntfy.pay.test");
    assert_eq!(ntfy["line"], "POST /exeat");
    assert_eq!(
        ntfy["headers"]["authorization"],
        format!("Bearer {NTFY_TOKEN}")
    );
    assert_eq!(ntfy["headers"]["click"], page.as_str());
    let hook = to("hooks.pay.test");
    assert_eq!(hook["line"], format!("POST {HOOK_PATH}"));
    assert!(hook["headers"].get("authorization").is_none());
    assert!(hook["body"].as_str().unwrap().contains(&page));
    for notice in [ntfy, hook] {
        let body = notice["body"].as_str().unwrap();
        assert!(
            body.contains("coder") && body.contains("pay.transfers.create"),
            "{body}"
        );
        for hidden in ["471100", "CANARY"] {
            assert!(!body.contains(hidden), "{body}");
        }
        let secrets = notice.to_string().matches("CANARY").count();
        assert_eq!(secrets, 1, "its own and no other: {notice}");
    }

    // Both answered with a yes.
    let question = world.value(&["approval", "show", approval]);
    let state = &question["approval"]["progress"]["state"];
    assert_eq!(state, "pending", "{question}");
    assert!(seen(&world.site.outside("seen")).is_empty());
    let log = fs::read_to_string(world.site.outside("gate.log")).unwrap();
    assert!(!log.contains("CANARY") && !log.contains("471100"), "{log}");
    world
        .site
        .holds_none_of(&[TOKEN, NTFY_TOKEN, HOOK_PATH, ARGUMENT]);
}

/// A question of the agent.
fn ask(world: &World) -> Value {
    let body = format!(r#"{{"amount": 471100, "to": "{ARGUMENT}"}}"#);
    let asked = Command::new("curl")
        .args(["--silent", "--max-time", "60", "--proxy", &world.proxy()])
        .arg("--cacert")
        .arg(world.site.file("bundle.pem"))
        .args(["--header", "exeat-wait: 0", "--json", &body])
        .arg("https://api.pay.test/transfers")
        .output()
        .unwrap();
    serde_json::from_slice(&asked.stdout).unwrap()
}
