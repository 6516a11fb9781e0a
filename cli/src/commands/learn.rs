//! `exeat learn`: a proposal of tools and rules from receipts and captures. It is printed, or written to a new file; nothing
//! here puts it in force.

use std::{
    fs::OpenOptions, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path, time::Duration,
};

use super::Place;
use crate::{
    args::Learn,
    settings::{Settings, read_sources},
    socket::{AskedCall, PastCall, PastEnd, ReceiptFilter, Request},
    ui::{self, Ending, Output},
};
use anyhow::Context as _;
use exeat_policy::{
    Policy, Sources, World,
    learn::{Asked, End, Ground, Proposal, Seen, Sent, as_patch, learn as propose},
};
use exeat_types::{AgentId, Clock as _, Source, SystemClock, Timestamp};

/// Where things go that no configuration names.
const TOOLS: &str = "tools";
const RULES: &str = "policy.toml";

pub(super) fn learn(place: &Place, order: &Learn) -> anyhow::Result<Ending> {
    let now = SystemClock::new().now();
    let seen = past(place, order, now)?;
    let settings = place.settings_if_any()?;
    let (sources, world) = match &settings {
        Some(settings) => (read_sources(&settings.policy)?, settings.world()),
        None => (Sources::default(), world_of(&seen)),
    };
    let policy = Policy::compile(&sources, &world)?;
    let ground = Ground {
        policy: &policy,
        credentials: &world.credentials,
        now,
    };
    let proposal = propose(&seen, &ground);
    check(&proposal, sources.clone(), &world)?;
    if place.output == Output::Json {
        ui::json(&proposal)?;
        return Ok(Ending::Done);
    }
    let (tools, rules) = names(settings.as_ref());
    let before = sources.policy.first().map_or("", |source| &*source.text);
    let patch = as_patch(&proposal, &tools, (&rules, before));
    match &order.out {
        Some(file) => write_new(file, &patch)?,
        None if patch.is_empty() => {}
        None => ui::data(patch.trim_end())?,
    }
    let doubted = proposal.lines.iter().filter(|line| !line.doubts.is_empty());
    let doubted = doubted.count();
    let proposed = proposal.lines.len().saturating_sub(doubted);
    ui::say(format_args!(
        "{} calls seen; {proposed} rules proposed, {doubted} in doubt; nothing is in force",
        seen.len()
    ));
    Ok(Ending::Done)
}

/// What was let through in the time that is asked about, oldest first.
fn past(place: &Place, order: &Learn, now: Timestamp) -> anyhow::Result<Vec<Seen>> {
    let filter = ReceiptFilter {
        agent: order.agent.clone(),
        since: Some(before(now, order.since)),
        ..ReceiptFilter::default()
    };
    let mut seen = Vec::new();
    for item in place.gate()?.ask(&Request::Past(filter), &[])? {
        let call: PastCall =
            serde_json::from_value(item?).context("cannot read the gate's answer")?;
        seen.extend(of(call));
    }
    seen.reverse();
    Ok(seen)
}

fn before(now: Timestamp, time: Duration) -> Timestamp {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Timestamp::from_millis(now.millis().saturating_sub(millis))
}

/// A call as learning takes it, which tells itself what counts as evidence.
fn of(call: PastCall) -> Option<Seen> {
    let end = match call.end {
        PastEnd::Answered => End::Answered,
        PastEnd::Alarm => End::Alarm,
        PastEnd::Failed => End::Failed,
    };
    Some(Seen {
        call: call.call,
        at: call.opened,
        agent: call.agent,
        run: call.run,
        tool: call.tool?,
        method: call.method.parse().ok()?,
        origin: call.origin,
        request: call.request.map(asked),
        arguments: call.arguments,
        approved: call.approved,
        flagged: call.flagged,
        end,
    })
}

fn asked(request: AskedCall) -> Asked {
    let body = match (request.body, request.unread) {
        (Some(body), _) => Sent::Json(body),
        (None, true) => Sent::Unread,
        (None, false) => Sent::Nothing,
    };
    Asked {
        path: request.path,
        query: request.query,
        body,
    }
}

/// Without a configuration there are only the agents that were seen.
fn world_of(seen: &[Seen]) -> World {
    let agents = seen.iter().map(|seen| (seen.agent.clone(), Vec::new()));
    World {
        agents: agents.collect::<std::collections::BTreeMap<AgentId, Vec<String>>>(),
        ..World::default()
    }
}

/// A proposal that would not load is not shown.
fn check(proposal: &Proposal, mut sources: Sources, world: &World) -> anyhow::Result<()> {
    let files = proposal.files.iter();
    sources
        .tools
        .extend(files.map(|(name, text)| Source::new(name, text)));
    let before = sources.policy.first().map_or("", |source| &*source.text);
    let rules = format!("{before}\n{}", proposal.rules);
    sources.policy = vec![Source::new("the proposal", &rules)];
    Policy::compile(&sources, world)
        .context("the proposal does not load; this is a mistake of Exeat's")?;
    Ok(())
}

/// The folder of tools and the file of rules, as seen from the folder of the configuration.
fn names(settings: Option<&Settings>) -> (String, String) {
    let Some(settings) = settings else {
        return (TOOLS.to_owned(), RULES.to_owned());
    };
    let here = settings.file.parent().unwrap_or(Path::new(""));
    let name = |path: &Path, usual: &str| {
        let inside = path.strip_prefix(here).ok().and_then(Path::to_str);
        let last = path.file_name().and_then(|name| name.to_str());
        inside.or(last).unwrap_or(usual).to_owned()
    };
    (
        name(&settings.policy.tools, TOOLS),
        name(&settings.policy.file, RULES),
    )
}

fn write_new(file: &Path, text: &str) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(file);
    let mut opened = opened.with_context(|| format!("cannot make `{}`", file.display()))?;
    opened.write_all(text.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn call(changed: &Value) -> PastCall {
        let mut call: Value = json!({
            "call": "01mc1ee9g00000000000000000", "opened": "2026-01-31T12:00:00Z", "agent": "claude",
            "tool": "observed.read", "method": "GET", "origin": "https://docs.example", "template": "/{*path}",
            "arguments": null, "refused": null, "observed": true, "run": "01mc1ee9g0000000000000000a",
            "request": { "path": "/a", "query": null, "body": null, "unread": true },
            "approved": false, "flagged": false, "end": "answered",
        });
        let fields = call.as_object_mut().unwrap();
        fields.extend(changed.as_object().unwrap().clone());
        serde_json::from_value(call).unwrap()
    }

    #[test]
    fn what_a_human_let_through_and_what_was_flagged_reach_learning_as_such() {
        let seen = of(call(
            &json!({ "approved": true, "flagged": true, "end": "failed" }),
        ))
        .unwrap();
        assert!(seen.approved && seen.flagged && seen.end == End::Failed);
        let seen = of(call(&json!({}))).unwrap();
        assert!(!seen.approved && !seen.flagged && seen.end == End::Answered);
        assert_eq!(seen.request.unwrap().body, Sent::Unread);
    }
}
