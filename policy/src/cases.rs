//! Tables of decisions that operators keep beside their policy: `exeat policy test`.
//!
//! ```toml
//! [[case]]
//! name = "claude reads an issue"
//! agent = "claude"
//! request = "GET https://api.github.com/repos/acme/site/issues/1"
//! expect = "allow"
//! ```

use exeat_types::{
    AccountId, AgentId, Origin, Reason, Report, Source,
    config::{Document, Item, Table},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde::Serialize;
use serde_json::Value;

use crate::{Body, Effect, Policy, Question, Request, Unsettled, Violation};

/// One request and what should become of it.
#[derive(Debug, Clone)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// Where it stands, as `file:line`.
    pub place: String,
    /// Who asks.
    pub agent: AgentId,
    /// What is asked for.
    pub method: Method,
    /// Where.
    pub origin: Origin,
    /// The canonical path.
    pub path: String,
    /// The query.
    pub query: Option<String>,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// How a human approved it, if one did.
    pub approval: Option<String>,
    /// What should come of it.
    pub expect: Expect,
    /// The rule that should decide.
    pub rule: Option<String>,
}

/// What a case expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// A decision.
    Effect(Effect),
    /// A refusal before the decision.
    Reason(Reason),
}

impl Expect {
    /// The word in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Effect(effect) => effect.name(),
            Self::Reason(reason) => reason.code(),
        }
    }
}

/// What became of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaseResult {
    /// The name of the case.
    pub name: String,
    /// Where it stands.
    pub place: String,
    /// Whether it came out as expected.
    pub passed: bool,
    /// What was expected.
    pub expected: String,
    /// What came.
    pub got: String,
}

/// Reads files of cases; every problem goes to the report.
pub fn read(sources: &[Source], report: &mut Report) -> Vec<Case> {
    let mut cases = Vec::new();
    for source in sources {
        let document = Document::parse(source, report);
        let root = document.root();
        let items = root
            .get("case")
            .map(|item| item.items(report))
            .unwrap_or_default();
        root.finish(report);
        cases.extend(items.into_iter().filter_map(|item| read_case(item, report)));
    }
    cases
}

/// Runs one case.
pub fn run(policy: &Policy, case: &Case) -> CaseResult {
    let (got, rules, detail) = outcome(policy, case);
    let by_rule = case.rule.as_ref().is_none_or(|rule| rules.contains(rule));
    let shown = |expect: Expect, rules: &str, detail: &str| {
        let by = if rules.is_empty() {
            String::new()
        } else {
            format!(" by `{rules}`")
        };
        let detail = if detail.is_empty() {
            String::new()
        } else {
            format!(" ({detail})")
        };
        format!("{}{by}{detail}", expect.name())
    };
    CaseResult {
        name: case.name.clone(),
        place: case.place.clone(),
        passed: got == case.expect && by_rule,
        expected: shown(case.expect, case.rule.as_deref().unwrap_or_default(), ""),
        got: shown(got, &rules.join("`, `"), &detail),
    }
}

fn outcome(policy: &Policy, case: &Case) -> (Expect, Vec<String>, String) {
    let early = |reason, detail| (Expect::Reason(reason), Vec::new(), detail);
    let Ok(found) = policy.find(&case.method, &case.origin, &case.path) else {
        return early(Reason::ToolUnknown, String::new());
    };
    let body = if case.body.is_empty() {
        Body::Absent
    } else {
        Body::Whole(&case.body)
    };
    let request = Request {
        method: &case.method,
        origin: &case.origin,
        path: &case.path,
        query: case.query.as_deref(),
        headers: &case.headers,
        body,
    };
    let found = match found.settle(&request) {
        Ok(found) => found,
        Err(Unsettled::Unknown(detail)) => return early(Reason::ToolUnknown, detail),
        Err(Unsettled::Invalid(violations)) => {
            return early(Reason::ArgumentsInvalid, listed(&violations));
        }
    };
    let arguments = match found.check(&request) {
        Ok(arguments) => arguments,
        Err(violations) => {
            return early(Reason::ArgumentsInvalid, listed(&violations));
        }
    };
    let account = AccountId::local();
    let question = Question {
        account: &account,
        agent: &case.agent,
        tool: &found.tool,
        arguments: &arguments,
        approval: case.approval.as_deref(),
    };
    let decision = policy.decide(&question);
    (
        Expect::Effect(decision.effect),
        decision.rules,
        String::new(),
    )
}

fn listed(violations: &[Violation]) -> String {
    let each = violations.iter();
    let list: Vec<String> = each
        .map(|wrong| format!("{}: {}", wrong.place, wrong.problem))
        .collect();
    list.join("; ")
}

fn read_case(item: Item<'_>, report: &mut Report) -> Option<Case> {
    let table = item.table(report)?;
    let name_item = table.need("name", report);
    let name = name_item.and_then(|item| item.text(report));
    let agent = table
        .need("agent", report)
        .and_then(|item| item.parse(report));
    let request = table
        .need("request", report)
        .and_then(|item| read_request(item, report));
    let mut headers = table
        .get("headers")
        .map(|item| read_headers(item, report))
        .unwrap_or_default();
    let body = read_body(&table, &mut headers, report);
    let approval = table
        .get("approval")
        .and_then(|item| item.text(report))
        .map(str::to_owned);
    let expect = table
        .need("expect", report)
        .and_then(|item| read_expect(item, report));
    let rule = table
        .get("rule")
        .and_then(|item| item.text(report))
        .map(str::to_owned);
    table.finish(report);
    let mut here = Report::new();
    let line = here
        .at(table.source(), name_item?.span(), "")
        .line_column()
        .map_or(1, |(line, _)| line);
    let (method, origin, path, query) = request?;
    Some(Case {
        name: name?.to_owned(),
        place: format!("{}:{line}", table.source().name),
        agent: agent?,
        method,
        origin,
        path,
        query,
        headers,
        body,
        approval,
        expect: expect?,
        rule,
    })
}

fn read_request(
    item: Item<'_>,
    report: &mut Report,
) -> Option<(Method, Origin, String, Option<String>)> {
    match parse_request(item.text(report)?) {
        Ok(request) => Some(request),
        Err(problem) => {
            item.problem(report, problem)
                .help("write a method and a URL, such as `GET https://api.example.com/v1/me`");
            None
        }
    }
}

/// Splits `GET https://host/path?query`. The path is taken as it stands, so it has to be canonical.
///
/// # Errors
/// When the method, the scheme or the host is malformed.
pub fn parse_request(text: &str) -> Result<(Method, Origin, String, Option<String>), String> {
    let (method, url) = text.split_once(' ').ok_or("expected a method and a URL")?;
    let method: Method = method
        .parse()
        .ok()
        .ok_or_else(|| format!("`{method}` is not a method"))?;
    let after_scheme = url
        .find("://")
        .map(|at| at.saturating_add(3))
        .ok_or("expected `https://` or `http://`")?;
    let rest = url.get(after_scheme..).unwrap_or_default();
    let end = rest
        .find(['/', '?'])
        .map_or(url.len(), |at| after_scheme.saturating_add(at));
    let (origin, target) = url.split_at_checked(end).unwrap_or((url, ""));
    let origin = Origin::parse(origin).map_err(|problem| problem.to_string())?;
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    let path = if path.is_empty() { "/" } else { path };
    Ok((method, origin, path.to_owned(), query))
}

fn read_headers(item: Item<'_>, report: &mut Report) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, _, value) in item
        .table(report)
        .map(|table| table.entries())
        .unwrap_or_default()
    {
        let Some(text) = value.text(report) else {
            continue;
        };
        match (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_str(text),
        ) {
            (Ok(name), Ok(value)) => {
                headers.append(name, value);
            }
            _ => {
                value.problem(report, format!("`{name}` is not a header field"));
            }
        }
    }
    headers
}

/// A body is text as it stands, or a table or array that is sent as JSON.
fn read_body(table: &Table<'_>, headers: &mut HeaderMap, report: &mut Report) -> Vec<u8> {
    let Some(item) = table.get("body") else {
        return Vec::new();
    };
    match item.json(report) {
        Some(Value::String(text)) => text.into_bytes(),
        Some(value) => {
            headers
                .entry(header::CONTENT_TYPE)
                .or_insert(HeaderValue::from_static("application/json"));
            value.to_string().into_bytes()
        }
        None => Vec::new(),
    }
}

fn read_expect(item: Item<'_>, report: &mut Report) -> Option<Expect> {
    let text = item.text(report)?;
    let effects = [Effect::Allow, Effect::Deny, Effect::Prompt];
    let effect = effects
        .into_iter()
        .find(|effect| effect.name() == text)
        .map(Expect::Effect);
    let reasons = [Reason::ToolUnknown, Reason::ArgumentsInvalid];
    let reason = || {
        reasons
            .into_iter()
            .find(|reason| reason.code() == text)
            .map(Expect::Reason)
    };
    let found = effect.or_else(reason);
    if found.is_none() {
        let problem = item.problem(report, format!("`{text}` is not something to expect"));
        problem.help("expect `allow`, `deny`, `prompt`, `tool-unknown` or `arguments-invalid`");
    }
    found
}
