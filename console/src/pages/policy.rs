//! Tools and policy: what agents can ask for, which rule decides about it, and what would happen to a request.

use std::sync::Arc;

use axum::{
    Extension, Form, Router,
    extract::{Query, State},
    response::Response,
    routing::get,
};
use exeat_pipeline::canonical_path;
use exeat_policy::{
    Body, Decision, Effect, Explanation, Policy, Request, RuleSeen, Sight, Tool,
    cases::parse_request,
};
use exeat_types::{AgentId, Origin, Reason};
use http::{HeaderMap, HeaderValue, Method, header};
use maud::{Markup, html};
use serde::Deserialize;

use super::calls::digest;
use crate::{
    AgentDeclared,
    layout::{Frame, Tab, Tone, badge, counted, csrf, empty, heading, notice},
    problem::{Problem, sentence},
    session::Session,
    site::Site,
    visible::Visible,
};

/// Tools of a page; the filter finds the rest.
const TOOLS_MAX: usize = 200;

pub(super) fn routes() -> Router<Arc<Site>> {
    Router::new().route("/policy", get(page).post(tried))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Look {
    /// Words that a tool must have.
    #[serde(default)]
    find: String,
    /// The tool whose request is to be tried.
    #[serde(default)]
    tool: String,
}

#[derive(Debug, Default, Deserialize)]
struct Try {
    #[serde(default)]
    agent: String,
    #[serde(default)]
    method: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    body: String,
}

async fn page(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    Query(look): Query<Look>,
) -> Result<Response, Problem> {
    let rules = site.gate.rules();
    let chosen = rules.policy.tool(&look.tool).map(|tool| Try {
        method: tool.method.to_string(),
        url: format!("{}{}", tool.origin, tool.template),
        ..Try::default()
    });
    draw(&site, &session, &look, (chosen.unwrap_or_default(), None)).await
}

async fn tried(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    Form(asked): Form<Try>,
) -> Result<Response, Problem> {
    let rules = site.gate.rules();
    let answer = answer(&rules.policy, &asked);
    draw(&site, &session, &Look::default(), (asked, Some(answer))).await
}

async fn draw(
    site: &Arc<Site>,
    session: &Session,
    look: &Look,
    (asked, answer): (Try, Option<Result<Markup, String>>),
) -> Result<Response, Problem> {
    let rules = site.gate.rules();
    let agents = site.operator.agents().await?;
    let lead = format!(
        "{} and {}, all of which decide: what none of them allows is refused.",
        counted(
            u64::try_from(rules.policy.tools().count()).unwrap_or(0),
            "tool",
            "tools"
        ),
        counted(
            u64::try_from(rules.policy.rule_count()).unwrap_or(0),
            "rule",
            "rules"
        ),
    );
    let content = html! {
        (heading("Tools and policy", &lead))
        section.card aria-labelledby="try" {
            h2 #try { "Try a request" }
            p.small.muted { "Nothing is sent and nothing is counted. Limits, risk and approvals come on top of what is shown here." }
            (form(&asked, &agents, session))
            @match answer {
                None => {}
                Some(Ok(answer)) => { (answer) }
                Some(Err(problem)) => { (notice(Tone::Bad, html! { p { (Visible(&sentence(&problem))) } })) }
            }
        }
        (tools(&rules.policy, look))
        section.card aria-labelledby="cedar" {
            h2 #cedar { "What the rules compiled to" }
            p.small.muted.wrap { "Policy " (digest(&rules.policy.digest())) ", in the Cedar language." }
            details {
                summary { "Show Cedar" }
                pre.text tabindex="0" aria-labelledby="cedar" { (rules.policy.cedar_text()) }
            }
        }
    };
    let frame = Frame {
        site,
        session,
        tab: Tab::Policy,
    };
    Ok(frame.page("Tools and policy", content))
}

fn form(asked: &Try, agents: &[AgentDeclared], session: &Session) -> Markup {
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    html! {
        form.stack method="post" action="/policy#try" {
            (csrf(session))
            div.filters {
                label {
                    "Agent"
                    select name="agent" required {
                        @for one in agents { option value=(one.id) selected[one.id.as_str() == asked.agent] { (one.id) } }
                    }
                }
                label {
                    "Method"
                    select name="method" {
                        @for method in methods { option value=(method) selected[method == asked.method] { (method) } }
                    }
                }
                label.wide {
                    "URL"
                    input name="url" type="text" inputmode="url" required value=(asked.url) placeholder="https://api.example.com/v1/things" autocomplete="off" spellcheck="false";
                }
            }
            label { "Body, if it has one" textarea name="body" rows="4" spellcheck="false" { (asked.body) } }
            div { button.main type="submit" { "Try it" } }
        }
    }
}

/// What would happen, in a word, a sentence, and rule by rule.
fn answer(policy: &Policy, asked: &Try) -> Result<Markup, String> {
    let agent: AgentId = asked
        .agent
        .parse()
        .map_err(|_cause| "choose an agent".to_owned())?;
    let parsed = parse_request(&format!("{} {}", asked.method, asked.url.trim()));
    let (method, origin, path, query) = parsed?;
    if method == Method::CONNECT {
        return Err("a connection by itself decides nothing; try the request inside it".to_owned());
    }
    let path = canonical_path(&path).map_err(|problem| problem.to_string())?;
    let mut headers = HeaderMap::new();
    let body = asked.body.as_bytes();
    if !body.is_empty() {
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
    }
    let request = Request {
        method: &method,
        origin: &origin,
        path: &path,
        query: query.as_deref(),
        headers: &headers,
        body: if body.is_empty() {
            Body::Absent
        } else {
            Body::Whole(body)
        },
    };
    let seen = policy.explain(&agent, &request);
    Ok(explained(&seen, &agent, &origin))
}

fn explained(seen: &Explanation, agent: &AgentId, origin: &Origin) -> Markup {
    let (tone, word, because) = verdict(seen, agent, origin);
    html! {
        (notice(tone, html! { p { b { (word) } ": " (Visible(&because)) "." } }))
        @if let Some(tool) = &seen.tool { p { "Tool " code { (tool) } } }
        @if !seen.nearest.is_empty() {
            p.small.muted { "Nearest:" }
            ul.tick.small { @for near in &seen.nearest { li { code { (near) } } } }
        }
        @if !seen.violations.is_empty() {
            ul.tick { @for wrong in &seen.violations { li { span { code { (wrong.place) } ": " (Visible(&wrong.problem)) } } } }
        }
        @if !seen.rules.is_empty() {
            table.table {
                thead { tr { th { "Rule" } th { "Effect" } th { "Here" } } }
                tbody { @for rule in &seen.rules { (row(rule)) } }
            }
        }
    }
}

fn row(rule: &RuleSeen) -> Markup {
    let here = match rule.sight {
        Sight::Matches => "matches",
        Sight::OtherAgents => "is about other agents",
        Sight::ConditionsFail => "its conditions do not hold",
        Sight::CannotBeEvaluated => "cannot be evaluated, which denies",
    };
    html! {
        tr {
            td data-of="Rule" { code { (rule.name) } }
            td data-of="Effect" { span { (effect(rule.effect)) } }
            td data-of="Here" { @if rule.sight == Sight::Matches { b { (here) } } @else { span.muted { (here) } } }
        }
    }
}

fn effect(effect: Effect) -> Markup {
    let tone = match effect {
        Effect::Allow => Tone::Good,
        Effect::Deny => Tone::Bad,
        Effect::Prompt => Tone::Wait,
    };
    badge(tone, effect.name())
}

fn verdict(seen: &Explanation, agent: &AgentId, origin: &Origin) -> (Tone, &'static str, String) {
    if seen.tool.is_none() {
        let first = seen.violations.first();
        let because = match (first, seen.host_known, seen.path_known) {
            (Some(wrong), ..) => wrong.problem.clone(),
            (None, false, _) => format!("no tool names the origin {origin}"),
            (None, true, true) => "a tool has this path, but with another method".to_owned(),
            (None, true, false) => format!("no tool of {origin} has this path"),
        };
        return (Tone::Bad, Reason::ToolUnknown.code(), because);
    }
    let Some(decision) = &seen.decision else {
        let because = "an argument does not fit the tool's schema".to_owned();
        return (Tone::Bad, Reason::ArgumentsInvalid.code(), because);
    };
    let named = named(decision);
    match decision.effect {
        Effect::Allow => (Tone::Good, "allow", format!("allowed by {named}")),
        Effect::Prompt => (
            Tone::Wait,
            Reason::ApprovalRequired.code(),
            format!("{named} wants a human to approve"),
        ),
        Effect::Deny if decision.rules.is_empty() => (
            Tone::Bad,
            Reason::PolicyForbids.code(),
            format!("no rule allows {agent} to do this"),
        ),
        Effect::Deny => (
            Tone::Bad,
            Reason::PolicyForbids.code(),
            format!("denied by {named}"),
        ),
    }
}

fn named(decision: &Decision) -> String {
    decision.rules.join(", ")
}

fn tools(policy: &Policy, look: &Look) -> Markup {
    let words: Vec<String> = look
        .find
        .split_whitespace()
        .map(str::to_lowercase)
        .collect();
    let fits = |tool: &&Tool| {
        let text = format!(
            "{} {} {} {}{} {}",
            tool.name, tool.category, tool.method, tool.origin, tool.template, tool.description
        );
        let text = text.to_lowercase();
        words.iter().all(|word| text.contains(word))
    };
    let found: Vec<&Tool> = policy.tools().filter(fits).collect();
    html! {
        section.stack aria-labelledby="tools" {
            div.row.between {
                h2 #tools { "Tools" }
                form.row method="get" action="/policy" role="search" aria-label="Find tools" {
                    label { span.unseen { "Words" } input type="search" name="find" value=(look.find) placeholder="name, path or origin"; }
                    button type="submit" { "Find" }
                }
            }
            @if found.is_empty() {
                @if words.is_empty() { (empty("No tools are declared", "Tools are what agents can ask for. `exeat preset add github` brings some; `exeat tool` makes your own.")) }
                @else { (empty("Nothing matches", "No tool has all of these words.")) }
            } @else {
                div.card { (table(&found)) }
                @if found.len() > TOOLS_MAX { p.muted { "And " (found.len() - TOOLS_MAX) " more; find them by words." } }
            }
        }
    }
}

fn table(found: &[&Tool]) -> Markup {
    html! {
        table.table {
            thead { tr { th { "Tool" } th { "Request" } th { "Category" } th { "Credential" } th { "" } } }
            tbody {
                @for tool in found.iter().take(TOOLS_MAX) {
                    tr {
                        td data-of="Tool" { div { code { (tool.name) } div.small.muted { (tool.description) } } }
                        td data-of="Request" { code.small { (tool.method) " " (tool.origin) (tool.template) } }
                        td data-of="Category" { span { (badge(Tone::Plain, &tool.category.to_string())) } }
                        td data-of="Credential" {
                            @match &tool.credential {
                                Some(credential) => { code { (credential) } }
                                None => { span.muted { "none" } }
                            }
                        }
                        td data-of="" { a href=(format!("/policy?tool={}#try", tool.name)) { "Try" span.unseen { " " (tool.name) } } }
                    }
                }
            }
        }
    }
}
