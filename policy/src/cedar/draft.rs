//! Writing a rule as Cedar, remembering where each piece of the operator's own text went.

use std::{fmt::Write as _, ops::Range};

use crate::{
    Approve, Approver, Effect,
    cedar::Verdict,
    rules::{Expression, Rule, Who},
};

/// One Cedar policy as text.
pub(crate) struct Draft {
    pub(crate) id: String,
    pub(crate) text: String,
    pub(crate) verdict: Verdict,
    /// Where `when` and `unless` of the rule stand in the text.
    pub(crate) pieces: Vec<(Range<usize>, Piece)>,
}

/// A part of a rule that the operator wrote in Cedar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    When,
    Unless,
}

impl Piece {
    pub(crate) fn of(self, rule: &Rule) -> Option<&Expression> {
        match self {
            Self::When => rule.when.as_ref(),
            Self::Unless => rule.unless.as_ref(),
        }
    }
}

/// The policies of a rule: one; for `prompt` one that permits and one that forbids until somebody has approved.
pub(crate) fn drafts(rule: &Rule) -> Vec<Draft> {
    let name = &rule.name;
    match (rule.effect, rule.approve) {
        (Effect::Allow, _) => vec![draft(rule, name, "permit", Verdict::Permit)],
        (Effect::Deny, _) => vec![draft(rule, name, "forbid", Verdict::Forbid)],
        (Effect::Prompt, approve) => {
            let strictest = Approve {
                by: Approver::Passkey,
                remember: crate::Remember::Once,
                approvers: 1,
                devices: 1,
                within: None,
            };
            let approve = approve.unwrap_or(strictest);
            let id = format!("{name} / approval");
            vec![
                draft(rule, name, "permit", Verdict::Permit),
                draft(rule, &id, "forbid", Verdict::Ask(approve)),
            ]
        }
    }
}

fn draft(rule: &Rule, id: &str, effect: &str, verdict: Verdict) -> Draft {
    let until = rule
        .until
        .map(|until| format!("@until({})\n", quoted(&until.to_string())));
    let mut text = format!(
        "@id({})\n{}{effect} (\n  ",
        quoted(id),
        until.unwrap_or_default()
    );
    let guard = match &*rule.agents {
        [Who::Everyone] => {
            text.push_str("principal");
            None
        }
        [one] => {
            text.push_str(&who(one));
            None
        }
        several => Some(several.iter().map(who).collect::<Vec<_>>().join(" || ")),
    };
    if guard.is_some() {
        text.push_str("principal");
    }
    text.push_str(",\n  ");
    text.push_str(&scope(&rule.actions));
    text.push_str(",\n  resource\n)");
    if let Some(guard) = guard {
        push(&mut text, format_args!("\nwhen {{ {guard} }}"));
    }
    if !rule.categories.is_empty() {
        push(
            &mut text,
            format_args!("\nwhen {{ {} }}", scope(&rule.categories)),
        );
    }
    let mut pieces = Vec::new();
    for (word, piece) in [("when", Piece::When), ("unless", Piece::Unless)] {
        let Some(expression) = piece.of(rule) else {
            continue;
        };
        push(&mut text, format_args!("\n{word} {{\n"));
        let start = text.len();
        text.push_str(&expression.text);
        pieces.push((start..text.len(), piece));
        // The line break ends a comment that the operator's text may end with.
        text.push_str("\n}");
    }
    match verdict {
        Verdict::Ask(Approve {
            by: Approver::Passkey,
            ..
        }) => {
            text.push_str(
                "\nunless { context has approval && context.approval.by == \"passkey\" }",
            );
        }
        Verdict::Ask(Approve {
            by: Approver::Local,
            ..
        }) => text.push_str("\nunless { context has approval }"),
        Verdict::Permit | Verdict::Forbid => {}
    }
    text.push_str(";\n");
    Draft {
        id: id.to_owned(),
        text,
        verdict,
        pieces,
    }
}

/// Writing to a string cannot fail.
fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    if text.write_fmt(arguments).is_err() {
        text.clear();
    }
}

fn who(who: &Who) -> String {
    match who {
        Who::Everyone => "true".to_owned(),
        Who::Agent(agent) => format!("principal == Agent::{}", quoted(agent.as_str())),
        Who::Group(group) => format!("principal in Group::{}", quoted(group)),
    }
}

fn scope(actions: &[String]) -> String {
    let named = |name: &String| format!("Action::{}", quoted(name));
    match actions {
        [] => "action".to_owned(),
        all if all.iter().any(|name| name == "*") => "action".to_owned(),
        [one] if !one.ends_with(".*") && !one.contains(':') => format!("action == {}", named(one)),
        several => format!(
            "action in [{}]",
            several.iter().map(named).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// A text as Cedar writes it between quotes.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => push(&mut out, format_args!("\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
