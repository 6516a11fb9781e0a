//! `exeat why`: what would happen to a request, and which rule or argument makes it so.

use anyhow::{Context as _, anyhow};
use exeat_pipeline::canonical_path;
use exeat_policy::{
    Body, Decision, Effect, Explanation, Policy, Request, RuleSeen, Sight, cases::parse_request,
};
use exeat_types::{AgentId, Origin, Reason};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde_json::{Value, json};

use super::{Place, agent_of, check};
use crate::{
    args::Why,
    settings::{Endpoint, Settings},
    ui::{self, Ending, Paint},
};

pub(super) fn why(place: &Place, order: &Why) -> anyhow::Result<Ending> {
    let (settings, policy) = check::load(place)?;
    let agent = agent_of(&settings, order.agent.as_ref())?;
    if order.url.contains('#') {
        return Err(anyhow!(
            "a fragment is never sent; leave `#` and what follows out"
        ));
    }
    let asked = parse_request(&format!("{} {}", order.method, order.url));
    let (method, origin, path, query) =
        asked.map_err(|problem| anyhow!("`{}`: {problem}", order.url))?;
    if method == Method::CONNECT {
        return connect(place, (&settings, &policy), &agent, &origin);
    }
    let path = canonical_path(&path)?;
    let mut headers = headers(&order.headers)?;
    let body = order.body.as_deref().map(super::read_named).transpose()?;
    if body.is_some() {
        headers
            .entry(header::CONTENT_TYPE)
            .or_insert(HeaderValue::from_static("application/json"));
    }
    let request = Request {
        method: &method,
        origin: &origin,
        path: &path,
        query: query.as_deref(),
        headers: &headers,
        body: body.as_deref().map_or(Body::Absent, Body::Whole),
    };
    let seen = policy.explain(&agent, &request);
    let verdict = Verdict::of(&seen, &agent, &origin);
    place.print(&verdict.with(&seen), || told(&verdict, &seen))?;
    Ok(if verdict.refused.is_none() {
        Ending::Done
    } else {
        Ending::Refused
    })
}

/// A connection by itself: it passes unread, it is opened to be read, or it has no point.
fn connect(
    place: &Place,
    (settings, policy): (&Settings, &Policy),
    agent: &AgentId,
    origin: &Origin,
) -> anyhow::Result<Ending> {
    let target = Endpoint {
        host: origin.host.clone(),
        port: origin.port,
    };
    let unread = settings.network.passthrough.get(&target);
    let passes = unread.map(|agents| agents.as_ref().is_none_or(|list| list.contains(agent)));
    let (refused, because) = match passes {
        Some(true) => (
            None,
            "`[network] passthrough` names it: it passes unread, but never under `exeat run --strict`",
        ),
        _ if policy.knows_host(&target.host, target.port) => (
            None,
            "tools are declared for it, so it is opened to be read; ask about the request inside",
        ),
        Some(false) => (
            Some(Reason::ToolUnknown),
            "`[network] passthrough` names it for other agents only",
        ),
        None => (
            Some(Reason::ToolUnknown),
            "no tool is declared for it, and it does not pass unread",
        ),
    };
    let word = refused.map_or("allow", Reason::code);
    let value = json!({
        "verdict": word,
        "because": because,
        "passthrough": passes == Some(true),
    });
    place.print(&value, || format!("{word}: {because}"))?;
    Ok(match refused {
        None => Ending::Done,
        Some(_) => Ending::Refused,
    })
}

fn headers(texts: &[String]) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for text in texts {
        let (name, value) = text
            .split_once(':')
            .with_context(|| format!("`{text}` is not `Name: value`"))?;
        let name: HeaderName = name
            .trim()
            .parse()
            .with_context(|| format!("`{name}` is no header name"))?;
        let value = HeaderValue::from_str(value.trim())
            .with_context(|| format!("the value of `{name}` cannot be sent"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// What would happen, in a word and a sentence.
struct Verdict {
    refused: Option<Reason>,
    because: String,
}

impl Verdict {
    fn of(seen: &Explanation, agent: &AgentId, origin: &Origin) -> Self {
        let refused = |reason, because: String| Self {
            refused: Some(reason),
            because,
        };
        if seen.tool.is_none() {
            // Tools share the path, and none of them takes what the body asks for.
            if let Some(wrong) = seen.violations.first() {
                return refused(Reason::ToolUnknown, wrong.problem.clone());
            }
            let because = match (seen.host_known, seen.path_known) {
                (false, _) => format!("no tool names the origin {origin}"),
                (true, true) => "a tool has this path, but with another method".to_owned(),
                (true, false) => format!("no tool of {origin} has this path"),
            };
            return refused(Reason::ToolUnknown, because);
        }
        let Some(decision) = &seen.decision else {
            return refused(
                Reason::ArgumentsInvalid,
                "an argument does not fit the tool's schema".to_owned(),
            );
        };
        let named = named(decision);
        match decision.effect {
            Effect::Allow => Self {
                refused: None,
                because: format!("allowed by {named}"),
            },
            Effect::Prompt => refused(
                Reason::ApprovalRequired,
                format!("{named} asks for an approval"),
            ),
            Effect::Deny if decision.rules.is_empty() => refused(
                Reason::PolicyForbids,
                format!("no rule allows `{agent}` to do this"),
            ),
            Effect::Deny => refused(Reason::PolicyForbids, format!("denied by {named}")),
        }
    }

    fn word(&self) -> &'static str {
        self.refused.map_or("allow", Reason::code)
    }

    fn with(&self, seen: &Explanation) -> Value {
        let mut value = json!(seen);
        if let Value::Object(members) = &mut value {
            members.insert("verdict".to_owned(), Value::from(self.word()));
            members.insert("because".to_owned(), Value::from(self.because.clone()));
        }
        value
    }
}

fn named(decision: &Decision) -> String {
    decision
        .rules
        .iter()
        .map(|rule| format!("`{rule}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn told(verdict: &Verdict, seen: &Explanation) -> String {
    let paint = Paint::on_stdout();
    let word = verdict.word();
    let word = if verdict.refused.is_none() {
        paint.green(word)
    } else {
        paint.red(word)
    };
    let mut lines = vec![format!("{word}: {}", verdict.because)];
    lines.extend(seen.tool.iter().map(|tool| format!("  tool     {tool}")));
    lines.extend(seen.nearest.iter().map(|near| format!("  nearest  {near}")));
    lines.extend(
        seen.violations
            .iter()
            .map(|wrong| format!("  {}: {}", wrong.place, wrong.problem)),
    );
    if !seen.rules.is_empty() {
        let rows: Vec<[String; 4]> = seen.rules.iter().map(row).collect();
        lines.push(ui::table(["", "RULE", "EFFECT", "HERE"], &rows));
    }
    let limits = seen.limits.iter();
    lines.extend(limits.map(|limit| format!("  limit    {}: {}", limit.name, limit.words)));
    lines.join("\n")
}

fn row(rule: &RuleSeen) -> [String; 4] {
    let sight = match rule.sight {
        Sight::Matches => "matches",
        Sight::OtherAgents => "is about other agents",
        Sight::ConditionsFail => "its conditions do not hold",
        Sight::CannotBeEvaluated => "cannot be evaluated, which denies",
    };
    [
        String::new(),
        rule.name.clone(),
        rule.effect.name().to_owned(),
        sight.to_owned(),
    ]
}
