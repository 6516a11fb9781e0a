//! What the tour shows, one function a step.

use anyhow::Context as _;
use serde_json::Value;

use super::{Ran, Receipts, Step, Upstream, person::Person, site::Site};

type Act = fn(&Site, &Upstream) -> anyhow::Result<Step>;

/// The steps, in order.
pub(super) const ALL: [Act; 6] = [
    placeholder,
    allowed,
    denied,
    bad_arguments,
    approved,
    bypass,
];

const NOTE: &str = "https://api.demo.test/notes/7";

fn placeholder(site: &Site, upstream: &Upstream) -> anyhow::Result<Step> {
    let ran = site.sealed(&["sh", "-c", "echo \"DEMO_TOKEN=$DEMO_TOKEN\""])?;
    let value = ran
        .stdout
        .trim()
        .strip_prefix("DEMO_TOKEN=")
        .unwrap_or_default();
    Ok(Step {
        id: "placeholder",
        title: "The agent's environment holds a placeholder, not the token",
        ok: ran.success && value.len() > 8 && !holds(&ran, upstream),
        expected: "a value that looks like a token and is none",
        agent_saw: ran.all(),
        upstream_saw: None,
    })
}

fn allowed(site: &Site, upstream: &Upstream) -> anyhow::Result<Step> {
    let script = format!("curl -sS -H \"Authorization: Bearer $DEMO_TOKEN\" {NOTE}");
    let ran = site.sealed(&["sh", "-c", &script])?;
    let seen = upstream.last();
    let real = format!("Bearer {}", upstream.token);
    let arrived = seen.as_ref().is_some_and(|seen| seen.authorization == real);
    Ok(Step {
        id: "allowed",
        title: "An allowed call: the API gets the real token, and its echo comes back redacted",
        ok: ran.success && arrived && ran.stdout.contains("[redacted") && !holds(&ran, upstream),
        expected: "200 from the API, which repeats the Authorization it was sent",
        agent_saw: ran.all(),
        upstream_saw: seen
            .map(|seen| format!("{}  Authorization: {}", seen.line, seen.authorization)),
    })
}

fn denied(site: &Site, upstream: &Upstream) -> anyhow::Result<Step> {
    let before = upstream.count();
    let ran = site.sealed(&["curl", "-sS", "-X", "DELETE", NOTE])?;
    Ok(Step {
        id: "denied",
        title: "A call that a rule forbids goes nowhere",
        ok: ran.stdout.contains("policy-forbids") && upstream.count() == before,
        expected: "403 policy-forbids, and nothing at the API",
        agent_saw: ran.all(),
        upstream_saw: None,
    })
}

fn bad_arguments(site: &Site, upstream: &Upstream) -> anyhow::Result<Step> {
    let before = upstream.count();
    let url = "https://api.demo.test/notes";
    let ran = site.sealed(&["curl", "-sS", "--json", r#"{"titel": "hello"}"#, url])?;
    Ok(Step {
        id: "bad-arguments",
        title: "Arguments that do not fit are refused with a message that helps",
        ok: ran.stdout.contains("arguments-invalid")
            && ran.stdout.contains("title")
            && upstream.count() == before,
        expected: "422 arguments-invalid, naming the argument",
        agent_saw: ran.all(),
        upstream_saw: None,
    })
}

fn approved(site: &Site, upstream: &Upstream) -> anyhow::Result<Step> {
    let before = upstream.count();
    let publish = |to: &str| {
        let body = format!("{{\"to\": \"{to}\"}}");
        let url = format!("{NOTE}/publish");
        site.sealed(&["curl", "-sS", "-H", "exeat-wait: 0", "--json", &body, &url])
    };
    let asked = publish("team")?;
    let problem: Value = serde_json::from_str(asked.stdout.trim()).unwrap_or_default();
    let id = problem.pointer("/approval/id").and_then(Value::as_str);
    let enrolling = site.own(&["--json", "console", "enroll"])?;
    let enrolling: Value = serde_json::from_str(enrolling.stdout.trim())
        .with_context(|| format!("no one-time code: {}", enrolling.all()))?;
    let word = |name: &str| {
        enrolling
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let mut person = Person::enrol(word("url"), word("code"))?;
    person.approve(id.context("the agent was not asked to wait for a human")?)?;
    let changed = publish("everybody")?;
    let untouched = upstream.count() == before;
    let same = publish("team")?;
    let arrived = upstream.count() == before + 1;
    Ok(Step {
        id: "approved",
        title: "A human approves with a passkey (here a virtual one): the same request passes, a changed one does not",
        ok: same.success
            && untouched
            && arrived
            && changed.stdout.contains("approval-required")
            && !holds(&same, upstream),
        expected: "403 approval-required; after the passkey's signature 403 for a changed request, 200 for the same",
        agent_saw: format!(
            "asked:    {}\nchanged:  {}\nthe same: {}",
            asked.stdout.trim(),
            changed.stdout.trim(),
            same.all().trim()
        ),
        upstream_saw: upstream.last().map(|seen| seen.line),
    })
}

fn bypass(site: &Site, upstream: &Upstream) -> anyhow::Result<Step> {
    let before = upstream.count();
    let direct = format!("https://{}/notes/7", upstream.address);
    let script = format!(
        "curl -sS -k --noproxy '*' --max-time 5 {direct}; \
         curl -sS --noproxy '*' --max-time 5 http://192.0.2.1:8080/; \
         curl -sS --noproxy '*' --max-time 5 https://elsewhere.example/"
    );
    let ran = site.sealed(&["sh", "-c", &script])?;
    Ok(Step {
        id: "bypass",
        title: "Going around the gate fails: the sandbox has no other way out",
        ok: !ran.success && ran.stdout.is_empty() && upstream.count() == before,
        expected: "three errors from curl, and nothing at the API",
        agent_saw: ran.all(),
        upstream_saw: None,
    })
}

/// Counts the receipts and checks all of them offline, as an auditor would.
pub(super) fn receipts(site: &Site) -> anyhow::Result<Receipts> {
    let list = site.own(&["--json", "receipt", "list"])?;
    let count = list
        .stdout
        .lines()
        .filter(|line| serde_json::from_str::<Value>(line).is_ok())
        .count();
    let (export, key) = (site.file("receipts.jsonl"), site.file("receipts.key"));
    let export = export
        .to_str()
        .context("the temporary folder is not UTF-8")?;
    site.own(&["receipt", "export", "--out", export])?;
    std::fs::write(&key, site.own(&["receipt", "key"])?.stdout)?;
    let key = key.to_str().context("the temporary folder is not UTF-8")?;
    let verified = site.own(&["--json", "receipt", "verify", export, "--key", key])?;
    let verdict: Value = serde_json::from_str(verified.stdout.trim()).unwrap_or_default();
    // Without an anchor elsewhere nothing proves where the log ends; up to there every byte was checked.
    let word = verdict
        .get("verdict")
        .and_then(Value::as_str)
        .unwrap_or_default();
    Ok(Receipts {
        count,
        verified: word == "tail-unproven" || word == "proven",
    })
}

/// Whether the token shows anywhere in what the agent got.
fn holds(ran: &Ran, upstream: &Upstream) -> bool {
    ran.all().contains(&upstream.token)
}
