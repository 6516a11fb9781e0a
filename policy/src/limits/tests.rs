//! What `[limits.NAME]` means, what it refuses, and how it is said.

use exeat_types::{AgentId, Report, Source, ToolName};

use super::*;
use crate::{Policy, Sources, World};

const TOOLS: &str = r#"
[api]
name = "shop"
origin = "https://shop.test"
[[tool]]
name = "items.list"
request = "GET /items"
category = "read"
description = "List"
[[tool]]
name = "orders.create"
request = "POST /orders"
category = "write"
description = "Order"
cost = "2.50 USD"
"#;

fn compile(policy: &str) -> Result<Policy, Report> {
    let agent = |name: &str, groups: &[&str]| {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        (AgentId::new(name).unwrap(), groups)
    };
    let world = World {
        agents: [
            agent("claude", &["coding"]),
            agent("bob", &["coding"]),
            agent("eve", &[]),
        ]
        .into(),
        ..World::default()
    };
    let sources = Sources {
        tools: vec![Source::new("tools/shop.toml", TOOLS)],
        policy: vec![Source::new("policy.toml", policy)],
        cedar: Vec::new(),
    };
    Policy::compile(&sources, &world)
}

fn limits(policy: &str) -> Policy {
    match compile(policy) {
        Ok(policy) => policy,
        Err(report) => panic!("{report}"),
    }
}

fn of<'p>(policy: &'p Policy, agent: &str) -> Cow<'p, [Arc<Bound>]> {
    policy.limits().of(&AgentId::new(agent).unwrap())
}

#[track_caller]
fn says(policy: &str, words: &str) {
    let policy = limits(policy);
    let all: Vec<String> = policy
        .limits()
        .all()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(all.join("\n"), words);
}

#[track_caller]
fn refuses(policy: &str, expect: &[(usize, &str)]) {
    let report = compile(policy).err().expect("it is refused");
    let problems = report.problems().iter();
    let found: Vec<(usize, &str)> = problems
        .map(|one| (one.line_column().unwrap().0, one.message.as_str()))
        .collect();
    assert_eq!(found, expect);
}

#[test]
fn every_key_is_read_and_said_in_plain_english() {
    says(
        r#"
[limits.claude]
requests = "600/min"
burst = 60
hours = "Mon-Fri 08:00-19:00 Europe/Berlin"
spend = { call = "5 USD", day = "30.00 USD" }
"#,
        "claude may make 600 requests a minute, 60 at once, work Monday to Friday 08:00 to 19:00 Europe/Berlin and \
         spend at most 5.00 USD a call and 30.00 USD a day.",
    );
    says(
        r#"
[limits.coding]
agents = ["group:coding", "eve"]
tools = ["shop.*"]
category = ["write"]
share = "together"
concurrency = 4
session = "1h"
human-present = true
ask-above = { call = "100 USD", day = "500 USD" }
first-use-of-host = "prompt"
known-hosts = ["shop.test"]
calls = { hour = 5, 24h = 20 }
bytes-up = { call = "1 MB", day = "10 MB" }
bytes-down = { month = "1 GiB" }
tokens = { week = 1000000 }
zone = "America/New_York"
"#,
        "everyone in the group coding and eve may together, in write calls of shop.*, have 4 calls open at a time, work \
         1 hour at a time, work only while a human is present, make at most 5 calls an hour and 20 calls in any 24 hours, \
         send at most 1 MB a call and 10 MB a day, receive at most 1 GiB a month and use at most 1000000 tokens a week. \
         A human is asked when a call costs more than 100.00 USD. A human is asked when a day costs more than 500.00 USD. \
         A human is asked before a host is used for the first time.",
    );
}

#[test]
fn presets_say_what_is_not_said() {
    says(
        "[limits.claude]\npreset = \"restrictive\"\n",
        "claude may make 30 requests a minute, 5 at once, work 1 hour at a time and work only while a human is present. \
         A human is asked when a call costs more than 100.00 USD.",
    );
    says(
        "[limits.claude]\npreset = \"permissive\"\n",
        "claude may make 600 requests a minute, 60 at once and work 24 hours at a time.",
    );
    says(
        "[limits.claude]\npreset = \"restrictive\"\nhuman-present = false\nsession = \"2h\"\nrequests = \"10/s\"\nask-above = \"1 USD\"\n",
        "claude may make 10 requests a second, 1 at once and work 2 hours at a time. \
         A human is asked when a call costs more than 1.00 USD.",
    );
}

#[test]
fn budgets_are_named_after_who_shares_them() {
    let policy = limits(
        "[limits.claude]\ncalls = { day = 1 }\nask-above = { day = \"1 USD\" }\n[limits.team]\nagents = [\"group:coding\"]\nbytes-up = { 7d = \"1 MB\" }\n\
         [limits.all]\nagents = [\"*\"]\nshare = \"together\"\nspend = { month = \"1 USD\" }\n",
    );
    let names = |agent: &str| -> Vec<String> {
        let bounds = of(&policy, agent);
        let counts = bounds.iter().flat_map(|bound| &bound.counts);
        counts.map(|count| count.name.to_string()).collect()
    };
    assert_eq!(
        names("claude"),
        [
            "claude/calls/day",
            "team/claude/bytes-up/7d",
            "all/spend/month"
        ]
    );
    assert_eq!(names("bob"), ["team/bob/bytes-up/7d", "all/spend/month"]);
    assert_eq!(names("eve"), ["all/spend/month"]);
    assert_eq!(names("unheard-of"), ["all/spend/month"]);
    assert_eq!(
        of(&policy, "claude")[0].asked.as_deref(),
        Some("claude/asked/day")
    );
}

#[test]
fn a_limit_covers_the_tools_and_categories_that_it_names() {
    let policy = limits(
        "[limits.a]\nagents = [\"*\"]\ntools = [\"shop.orders.*\"]\nconcurrency = 1\n[limits.b]\nagents = [\"*\"]\ncategory = [\"read\"]\nconcurrency = 1\n\
         [limits.c]\nagents = [\"*\"]\ntools = [\"*\"]\nconcurrency = 1\n[limits.d]\nagents = [\"*\"]\ntools = [\"shop.items.list\"]\ncategory = [\"write\"]\nconcurrency = 1\n",
    );
    let covering = |tool: &str| -> String {
        let tool = policy.tool(ToolName::new(tool).unwrap().as_str()).unwrap();
        let all = policy.limits().all().iter();
        all.filter(|limit| limit.covers(tool))
            .map(|limit| &*limit.name)
            .collect()
    };
    assert_eq!(covering("shop.orders.create"), "ac");
    assert_eq!(covering("shop.items.list"), "bc");
}

#[test]
fn everything_that_is_wrong_is_said_at_its_place() {
    refuses(
        r#"[limits.cluade]
[limits.claude]
request = "5/min"
requests = "600 per minute"
burst = 0
hours = ["Mon-Fri 08:00-19:00 Europe/Berln", "08:00-08:00"]
session = "forever"
ask-above = { call = "1 USD", day = "1 EUR" }
spend = { call = "1 USD", day = "1 EUR" }
calls = { call = 1, dya = 2 }
bytes-up = { day = "10 megabytes" }
tokens = {}
zone = "Mars/Olympus"
preset = "relaxed"
first-use-of-host = "ask"
tools = ["shop.item.list"]
"#,
        &[
            (1, "no agent is named `cluade`, and no `agents` are named"),
            (16, "no tool is named `shop.item.list`"),
            (
                14,
                "expected one of `restrictive`, `permissive`, got `relaxed`",
            ),
            (13, "there is no time zone `Mars/Olympus`"),
            (4, "expected a rate such as `600/min`"),
            (5, "expected a number between 1 and 1000000"),
            (7, "expected a time such as `1h`, of at most `31d`"),
            (8, "both amounts have to be of one currency"),
            (15, "expected one of `allow`, `prompt`, `deny`, got `ask`"),
            (
                6,
                "there is no time zone `Europe/Berln`; did you mean `Europe/Berlin`?",
            ),
            (6, "it ends when it begins; a whole day is `00:00-24:00`"),
            (9, "every amount has to be of one currency"),
            (10, "unknown key `call`"),
            (10, "unknown key `dya`"),
            (11, "bytes: expected an amount such as `10 MB` or `64 KiB`"),
            (12, "expected at least one amount, such as `{ day = ... }`"),
            (3, "unknown key `request`"),
        ],
    );
}

#[test]
fn a_tool_that_costs_another_currency_is_found_out() {
    refuses(
        "[limits.claude]\nspend = { day = \"1 EUR\" }\n",
        &[(
            1,
            "the limit counts EUR, but `shop.orders.create` costs USD",
        )],
    );
    limits("[limits.claude]\ntools = [\"shop.items.list\"]\nspend = { day = \"1 EUR\" }\n");
}

#[test]
fn limits_are_part_of_the_digest_of_the_policy() {
    let one = limits("[limits.claude]\nconcurrency = 1\n").digest();
    assert_ne!(one, limits("[limits.claude]\nconcurrency = 2\n").digest());
}

#[test]
fn a_period_is_given_once_however_it_is_written() {
    refuses(
        "[limits.claude]\ncalls = { 24h = 10, 1440m = 20 }\n",
        &[(2, "`24h` is as long as another period that is given")],
    );
}

#[test]
fn a_threshold_of_a_day_leaves_that_of_a_call_to_the_preset() {
    let limits =
        limits("[limits.claude]\npreset = \"restrictive\"\nask-above = { day = \"500 USD\" }\n");
    let ask = &of(&limits, "claude")[0].limit.ask_above;
    let said = (&ask.call, &ask.day);
    let money = |text: &str| Some(text.parse().unwrap());
    assert_eq!(said, (&money("100 USD"), &money("500 USD")));
}
