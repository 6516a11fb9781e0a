//! Names of proposed APIs and tools: plain, and taken by nobody else.

use std::collections::BTreeSet;

use exeat_types::{Origin, Report, Timestamp, config::Document};
use http::Method;

use super::{Ground, Line, line::Learned};
use crate::Policy;

/// A name for an API that no tool has, and no other site.
pub(super) fn api_name(origin: &Origin, taken: &BTreeSet<String>, ground: &Ground<'_>) -> String {
    let host = origin.host.to_string();
    let slug = slug(&host, 40);
    let base = format!("seen-{slug}");
    let is_taken = |name: &String| {
        let prefix = format!("{name}.");
        let mut tools = ground.policy.tools();
        taken.contains(name) || tools.any(|tool| tool.name.as_str().starts_with(&prefix))
    };
    let others = (2_u32..).map(|n| format!("{base}-{n}"));
    let mut names = [base.clone()].into_iter().chain(others);
    names.find(|name| !is_taken(name)).unwrap_or(base)
}

pub(super) fn tool_name(method: &Method, template: &str, others: &[Learned]) -> String {
    let words = template.split('/').filter(|s| !s.is_empty());
    let words = words.map(|segment| segment.trim_matches(['{', '}']));
    let text = words.collect::<Vec<_>>().join("-");
    let text = if text.is_empty() { "root" } else { &text };
    let base = format!(
        "{}-{}",
        method.as_str().to_ascii_lowercase(),
        slug(text, 60)
    );
    let numbered = (2_u32..).map(|n| format!("{base}-{n}"));
    let mut names = [base.clone()].into_iter().chain(numbered);
    let free = |name: &String| !others.iter().any(|other| other.name == *name);
    names.find(free).unwrap_or(base)
}

/// The names of all rules that are written down, those that ended too.
pub(super) fn of_rules(policy: &Policy) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    // What is wrong with a file was said when it was compiled.
    let mut report = Report::new();
    for source in &policy.made_of().0.policy {
        let document = Document::parse(source, &mut report);
        let rules = document.root().get("rule");
        for rule in rules
            .map(|item| item.items(&mut report))
            .unwrap_or_default()
        {
            let name = rule.table(&mut report).and_then(|table| table.get("name"));
            names.extend(name.and_then(|item| item.text(&mut report).map(str::to_owned)));
        }
    }
    names
}

/// A name for a rule that no other has: what was learned earlier on the same day may be in force already.
pub(super) fn rule_name(
    line: &Line,
    index: usize,
    now: Timestamp,
    taken: &BTreeSet<String>,
) -> String {
    let day: String = now.to_string().chars().take(10).collect();
    let named = |number: usize| {
        let name = format!("learned {day} {number}: {} {}", line.agent, line.tool);
        name.chars().take(100).collect::<String>()
    };
    let mut names = (index.saturating_add(1)..).map(named);
    names.find(|name| !taken.contains(name)).unwrap_or_default()
}

/// Letters, digits and hyphens.
fn slug(text: &str, chars_max: usize) -> String {
    let mut slug = String::new();
    for c in text.chars().take(chars_max) {
        match c.is_ascii_alphanumeric() || c == '_' {
            true => slug.push(c),
            false if !slug.ends_with('-') => slug.push('-'),
            false => {}
        }
    }
    slug.trim_matches('-').to_owned()
}
