//! A proposal as TOML with its evidence, and as a patch.
//!
//! SECURITY: what an agent sent stands in here. Every character beyond plain ASCII is written as an escape, so that what a
//! person reads is what is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde_json::Value;

use super::{
    Doubt, Evidence, Ground, Line, Proposal,
    line::{Argument, Body, Learned, Site},
    name,
};
use crate::{Policy, cedar::quoted};

/// Whether a line would be in force.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Active,
    Inactive,
}

impl State {
    fn of(is_active: impl FnOnce() -> bool) -> Self {
        match is_active() {
            true => Self::Active,
            false => Self::Inactive,
        }
    }
}

/// Text that grows line by line.
#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, state: State, text: &str) {
        if state == State::Inactive {
            self.0.push_str("# ");
        }
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn gap(&mut self) {
        self.0.push('\n');
    }

    fn remark(&mut self, text: &str) {
        self.0.push_str("# ");
        self.0.push_str(&ascii(text));
        self.0.push('\n');
    }
}

/// Writes everything.
pub(super) fn proposal(sites: &[Site], declared: Vec<Line>, ground: &Ground<'_>) -> Proposal {
    let mut files = BTreeMap::new();
    let mut lines: Vec<Line> = Vec::new();
    let mut doubted = Page::default();
    for site in sites {
        let (name, page) = (format!("{}.toml", site.api), tool_file(site));
        match is_active(site) {
            true => drop(files.insert(name, page)),
            // A file of comments alone is none of tools.
            false => {
                doubted.gap();
                doubted.remark(&format!("for a file of its own, {name}:"));
                doubted.0.push_str(&page);
            }
        }
        let of_tools = site.tools.iter().flat_map(|tool| &tool.lines);
        lines.extend(of_tools.cloned());
    }
    let undeclared = lines.len();
    lines.extend(declared);
    let optional = optional_names(sites, ground.policy);
    let mut page = Page::default();
    let mut taken = name::of_rules(ground.policy);
    for (index, line) in lines.iter().enumerate() {
        let name = name::rule_name(line, index, ground.now, &taken);
        let note = (index >= undeclared).then_some("a tool that is declared already");
        rule(&mut page, line, (&name, note), &optional);
        taken.insert(name);
    }
    page.0.push_str(&doubted.0);
    Proposal {
        files,
        rules: page.0,
        lines,
    }
}

/// The arguments of each tool that a call may leave out: everything but the path.
fn optional_names(sites: &[Site], policy: &Policy) -> BTreeMap<String, BTreeSet<String>> {
    let mut optional: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for site in sites {
        for tool in &site.tools {
            let name = format!("{}.{}", site.api, tool.name);
            optional.insert(name, tool.query.keys().cloned().collect());
        }
    }
    for tool in policy.tools() {
        let in_path = |name: &&str| tool.template.contains(&format!("{{{name}}}"));
        let others = tool.argument_names().filter(|name| !in_path(name));
        optional.insert(tool.name.to_string(), others.map(str::to_owned).collect());
    }
    optional
}

fn is_active(site: &Site) -> bool {
    site.tools.iter().any(Learned::is_active)
}

fn tool_file(site: &Site) -> String {
    let mut page = Page::default();
    let state = State::of(|| is_active(site));
    page.remark("Proposed by `exeat learn` from what was observed. Read it before you use it.");
    page.line(state, "[api]");
    page.line(state, &format!("name = {}", text(&site.api)));
    page.line(
        state,
        &format!("origin = {}", text(&site.origin.to_string())),
    );
    for tool in &site.tools {
        page.gap();
        write_tool(&mut page, tool);
    }
    page.0
}

fn write_tool(page: &mut Page, tool: &Learned) {
    let state = State::of(|| tool.is_active());
    if state == State::Inactive {
        let doubts: BTreeSet<&Doubt> = tool.lines.iter().flat_map(|line| &line.doubts).collect();
        why(page, doubts.into_iter());
    }
    let evidence = tool.lines.iter().map(|line| &line.evidence);
    let calls: usize = evidence.clone().map(|evidence| evidence.calls).sum();
    let agents: Vec<&str> = tool.lines.iter().map(|line| line.agent.as_str()).collect();
    let category = match tool.method.as_str() {
        "GET" | "HEAD" | "OPTIONS" => "read",
        "DELETE" => "delete",
        _ => "write",
    };
    page.line(state, "[[tool]]");
    page.line(state, &format!("name = {}", text(&tool.name)));
    let request = text(&format!("{} {}", tool.method, tool.template));
    let by = agents.join(", ");
    page.line(
        state,
        &format!("request = {request} # {} by {by}", counted(calls, "call")),
    );
    page.line(state, &format!("category = \"{category}\""));
    for (section, arguments) in [("path", &tool.path), ("query", &tool.query)] {
        if arguments.is_empty() {
            continue;
        }
        page.line(state, &format!("[tool.input.{section}.properties]"));
        for (name, argument) in arguments {
            page.line(state, &argument_line(name, argument));
        }
    }
    match &tool.body {
        Body::Nothing => {}
        Body::Unread => {
            page.line(state, "[tool.input.body]");
            page.line(
                state,
                "media = \"binary\" # the body was not read, so nothing of it is checked",
            );
        }
        Body::Json(schema) => {
            page.line(state, "[tool.input.body]");
            for (keyword, value) in schema.as_object().into_iter().flatten() {
                page.line(state, &format!("{} = {}", key(keyword), value_text(value)));
            }
        }
    }
}

fn argument_line(name: &str, argument: &Argument) -> String {
    let Argument {
        schema,
        calls,
        values,
    } = argument;
    let schema = value_text(schema);
    format!(
        "{} = {schema} # in {}, {values} different",
        key(name),
        counted(*calls, "call")
    )
}

fn rule(
    page: &mut Page,
    line: &Line,
    (name, note): (&str, Option<&str>),
    optional: &BTreeMap<String, BTreeSet<String>>,
) {
    let state = State::of(|| line.doubts.is_empty());
    page.gap();
    if state == State::Inactive {
        why(page, line.doubts.iter());
    }
    if let Some(note) = note {
        page.remark(note);
    }
    page.line(state, "[[rule]]");
    page.line(state, &format!("name = {}", text(name)));
    page.line(state, &format!("agents = [{}]", text(line.agent.as_str())));
    page.line(
        state,
        &format!(
            "tools = [{}] # {}",
            text(&line.tool),
            evidence(&line.evidence)
        ),
    );
    if !line.literals.is_empty() {
        let none = BTreeSet::new();
        let optional = optional.get(&line.tool).unwrap_or(&none);
        let conditions = line
            .literals
            .iter()
            .map(|(name, values)| condition(name, values, optional));
        let when = conditions.collect::<Vec<_>>().join(" && ");
        page.line(
            state,
            &format!("when = {} # each value in two runs or more", text(&when)),
        );
    }
    page.line(state, "effect = \"allow\"");
}

fn condition(name: &str, values: &BTreeSet<String>, optional: &BTreeSet<String>) -> String {
    let list: Vec<String> = values.iter().map(|value| quoted(value)).collect();
    // SECURITY: an agent chose the name.
    let has = quoted(name);
    let among = format!("[{}].contains(context.args[{has}])", list.join(", "));
    match optional.contains(name) {
        true => format!("(if context.args has {has} then {among} else true)"),
        false => among,
    }
}

fn why<'d>(page: &mut Page, doubts: impl Iterator<Item = &'d Doubt>) {
    for doubt in doubts {
        page.remark(&format!("not proposed: {}", words(doubt)));
    }
}

fn words(doubt: &Doubt) -> String {
    match doubt {
        Doubt::AfterFlag { receipt } => {
            format!("first seen after a response that was flagged, in the same run ({receipt})")
        }
        Doubt::AfterAlarm { receipt } => {
            format!("first seen after a placeholder was misused, in the same run ({receipt})")
        }
        Doubt::NewHost => "the agent first called this host less than a day ago".to_owned(),
        Doubt::RandomName { name } => format!("the name `{name}` looks random"),
        Doubt::DropHost => "anybody can leave or collect anything there".to_owned(),
        Doubt::PlainHttp => "the connection is not encrypted".to_owned(),
        Doubt::UnreadBody => {
            "the body was not read, and there is a credential for this host".to_owned()
        }
        Doubt::Unsayable { problem } => problem.clone(),
    }
}

fn evidence(evidence: &Evidence) -> String {
    let day = |at: exeat_types::Timestamp| at.to_string().chars().take(10).collect::<String>();
    let receipts: Vec<String> = evidence.receipts.iter().map(ToString::to_string).collect();
    format!(
        "{} in {}, {} to {}: {}",
        counted(evidence.calls, "call"),
        counted(evidence.runs, "run"),
        day(evidence.first),
        day(evidence.last),
        receipts.join(" ")
    )
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The proposal as a patch that `git apply` and `patch -p1` take: new files in the folder of tools, and the rules behind
/// those that are there.
pub fn as_patch(proposal: &Proposal, tools: &str, (policy, rules): (&str, &str)) -> String {
    let mut patch = String::new();
    for (name, content) in &proposal.files {
        let path = format!("{tools}/{name}");
        let count = content.lines().count();
        patch.push_str(&format!(
            "--- /dev/null\n+++ b/{path}\n@@ -0,0 +1,{count} @@\n"
        ));
        add(&mut patch, '+', content.lines());
    }
    if proposal.rules.is_empty() {
        return patch;
    }
    let before: Vec<&str> = rules.lines().collect();
    let shown = before.len().min(3);
    let (_, context) = before.split_at(before.len().saturating_sub(shown));
    // Of a file without a line, the old side begins before the first one, and the new side with it.
    let after = before.len().saturating_sub(shown).saturating_add(1);
    let start = if shown == 0 { 0 } else { after };
    let added = proposal.rules.lines().count();
    patch.push_str(&format!(
        "--- a/{policy}\n+++ b/{policy}\n@@ -{start},{shown} +{after},{} @@\n",
        shown.saturating_add(added)
    ));
    match context.split_last() {
        Some((last, others)) if !rules.ends_with('\n') => {
            add(&mut patch, ' ', others.iter().copied());
            patch.push_str(&format!("-{last}\n\\ No newline at end of file\n+{last}\n"));
        }
        _ => add(&mut patch, ' ', context.iter().copied()),
    }
    add(&mut patch, '+', proposal.rules.lines());
    patch
}

fn add<'l>(patch: &mut String, sign: char, lines: impl Iterator<Item = &'l str>) {
    for line in lines {
        patch.push(sign);
        patch.push_str(line);
        patch.push('\n');
    }
}

/// A value of a schema; none of ours has a null.
fn value_text(value: &Value) -> String {
    match value {
        Value::Null => text("null"),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(string) => text(string),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(value_text).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(members) if members.is_empty() => "{}".to_owned(),
        Value::Object(members) => {
            let pair =
                |(name, value): (&String, &Value)| format!("{} = {}", key(name), value_text(value));
            let members: Vec<String> = members.iter().map(pair).collect();
            format!("{{ {} }}", members.join(", "))
        }
    }
}

fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    match !name.is_empty() && name.chars().all(bare) {
        true => name.to_owned(),
        false => text(name),
    }
}

fn text(text: &str) -> String {
    format!(
        "\"{}\"",
        ascii(&text.replace('\\', "\\\\").replace('"', "\\\""))
    )
}

/// The text with everything beyond plain ASCII as an escape of TOML.
fn ascii(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let code = u32::from(c);
        if c == ' ' || c.is_ascii_graphic() {
            out.push(c);
        } else if write!(out, "\\U{code:08X}").is_err() {
            break;
        }
    }
    out
}
