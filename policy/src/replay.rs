//! Deciding calls of the past once more, under this policy: what `exeat policy diff` is made of.
//!
//! Of a call its receipt is known and, where one was kept, its capture. Without a capture a call is decided only if no
//! rule for its tool reads an argument. Limits, risk and approvals that were given are not looked at.

use std::cmp::Ordering;

use exeat_types::{AccountId, AgentId, CredentialId, Origin, ToolName};
use http::Method;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{Approve, Arguments, Effect, Policy, Question, Tool, check::accepts_nothing};

/// A call as its receipt and its capture tell it.
#[derive(Debug, Clone)]
pub struct Past {
    /// Who called.
    pub agent: AgentId,
    /// The tool by its name at the time.
    pub tool: ToolName,
    /// The method.
    pub method: Method,
    /// Where it went.
    pub origin: Origin,
    /// The tool's path template, if the receipt has it.
    pub template: Option<String>,
    /// The declared arguments; nothing if they were not kept.
    pub arguments: Option<Value>,
}

/// What a policy says about a call of the past.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// What becomes of it.
    pub verdict: Verdict,
    /// The rules that decide.
    pub rules: Vec<String>,
    /// The tool's name, where it is another one than at the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<ToolName>,
    /// Where the tool of that name leads now, where that is another place than at the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved: Option<String>,
    /// What an approval would have to look like, where a human is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approve: Option<Approve>,
    /// The credential that would be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialId>,
}

/// What becomes of a call, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Its arguments decide, and they were not kept.
    Unknown,
    /// No tool takes it.
    ToolUnknown,
    /// The tool does not take these arguments.
    ArgumentsInvalid,
    /// A rule forbids it, or none allows it.
    Deny,
    /// A human is asked.
    Prompt,
    /// It passes.
    Allow,
}

impl Verdict {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::ToolUnknown => "tool-unknown",
            Self::ArgumentsInvalid => "arguments-invalid",
            Self::Deny => "deny",
            Self::Prompt => "prompt",
            Self::Allow => "allow",
        }
    }

    /// How much it lets through: nothing, what a human approves, everything.
    const fn reach(self) -> u8 {
        match self {
            Self::Unknown | Self::ToolUnknown | Self::ArgumentsInvalid | Self::Deny => 0,
            Self::Prompt => 1,
            Self::Allow => 2,
        }
    }
}

/// What a change of policy does to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Difference {
    /// More is let through than before.
    Wider,
    /// Less is.
    Narrower,
    /// As much is let through, but for another reason: other rules, another tool or credential.
    Otherwise,
    /// It could not be told.
    Undecided,
}

/// Compares what two policies say about the same call; nothing if they agree.
pub fn difference(before: &Outcome, after: &Outcome) -> Option<Difference> {
    if before == after && before.verdict != Verdict::Unknown {
        return None;
    }
    let unknown = [before, after]
        .iter()
        .any(|outcome| outcome.verdict == Verdict::Unknown);
    if unknown {
        return Some(Difference::Undecided);
    }
    Some(match before.verdict.reach().cmp(&after.verdict.reach()) {
        Ordering::Less => Difference::Wider,
        // What was called by this name leads elsewhere: nobody called that, so nothing tells what it lets through.
        _ if before.moved != after.moved && after.moved.is_some() => Difference::Undecided,
        Ordering::Greater => Difference::Narrower,
        Ordering::Equal => match (before.approve, after.approve) {
            (Some(was), Some(is)) if !is.is_at_least(was) => Difference::Wider,
            (Some(was), Some(is)) if !was.is_at_least(is) => Difference::Narrower,
            _ => Difference::Otherwise,
        },
    })
}

/// Whether a request that was refused before any rule was asked may get further now: without its path and its arguments
/// nobody can say that it does.
pub fn may_open((before, after): (&Policy, &Policy), refused: &Early<'_>) -> bool {
    let mut here = after
        .tools()
        .filter(|tool| tool.method == *refused.method && tool.origin == *refused.origin);
    match refused
        .tool
        .map(|name| (before.tool(name), after.tool(name)))
    {
        // Its arguments were refused: only another schema takes them, or another tool.
        Some((Some(was), Some(is))) if is_same(was, is) => here.any(|tool| is_new(before, tool)),
        Some((_, Some(_))) => true,
        Some((_, None)) | None => here.any(|tool| is_new(before, tool)),
    }
}

/// A request that was refused before any rule was asked.
#[derive(Debug, Clone, Copy)]
pub struct Early<'r> {
    /// The tool whose arguments it did not have, if there was one.
    pub tool: Option<&'r str>,
    /// How.
    pub method: &'r Method,
    /// Where.
    pub origin: &'r Origin,
}

fn is_new(before: &Policy, tool: &Tool) -> bool {
    !before.tools().any(|was| is_same(was, tool))
}

/// Whether two tools take the same requests.
fn is_same(was: &Tool, is: &Tool) -> bool {
    was.place() == is.place()
        && was.input_schema() == is.input_schema()
        && was.encoded_slash == is.encoded_slash
        && was.graphql == is.graphql
}

impl Policy {
    /// Decides a call of the past as if it came now, with nobody's approval.
    pub fn replay(&self, past: &Past) -> Outcome {
        let named = self.tool(past.tool.as_str());
        let moved = named.filter(|tool| !stands_at(tool, past));
        let moved = moved.map(|tool| format!("{} {}{}", tool.method, tool.origin, tool.template));
        let Some(tool) = self.tool_of(past) else {
            return Outcome {
                moved,
                ..Outcome::bare(Verdict::ToolUnknown)
            };
        };
        let renamed = (tool.name != past.tool).then(|| tool.name.clone());
        let outcome = match &past.arguments {
            Some(value) if !takes(tool, value) => Outcome::bare(Verdict::ArgumentsInvalid),
            Some(value) => self.decided(past, tool, value.clone()),
            None if self.reads_arguments(tool) => Outcome::bare(Verdict::Unknown),
            None => self.decided(past, tool, Value::Object(Map::new())),
        };
        Outcome {
            tool: renamed,
            moved,
            credential: tool.credential.clone(),
            ..outcome
        }
    }

    /// The tool by its name if it still stands at the same place, else another one that does.
    fn tool_of(&self, past: &Past) -> Option<&Tool> {
        let named = self.tool(past.tool.as_str());
        if let Some(tool) = named.filter(|tool| stands_at(tool, past)) {
            return Some(tool);
        }
        past.template.as_ref()?;
        self.tools().find(|tool| stands_at(tool, past))
    }

    fn reads_arguments(&self, tool: &Tool) -> bool {
        let slice = self.engine().slice(&tool.name);
        slice.is_none_or(|slice| !slice.plan.is_empty())
    }

    fn decided(&self, past: &Past, tool: &Tool, arguments: Value) -> Outcome {
        let decision = self.decide(&Question {
            account: &AccountId::local(),
            agent: &past.agent,
            tool,
            arguments: &Arguments::new(arguments),
            approval: None,
        });
        let verdict = match decision.effect {
            Effect::Allow => Verdict::Allow,
            Effect::Prompt => Verdict::Prompt,
            Effect::Deny => Verdict::Deny,
        };
        Outcome {
            verdict,
            rules: decision.rules,
            tool: None,
            moved: None,
            approve: decision.approve,
            credential: None,
        }
    }
}

impl Outcome {
    const fn bare(verdict: Verdict) -> Self {
        Self {
            verdict,
            rules: Vec::new(),
            tool: None,
            moved: None,
            approve: None,
            credential: None,
        }
    }
}

/// Whether a tool is where a call went, as far as its receipt says.
fn stands_at(tool: &Tool, past: &Past) -> bool {
    let template = past.template.as_ref();
    tool.method == past.method
        && tool.origin == past.origin
        && template.is_none_or(|template| tool.template == *template)
}

/// Sections that the gate reads out of a body; no schema speaks of them.
const INSIDE: [&str; 3] = ["git", "graphql", "llm"];

/// Whether a tool's schema takes the arguments that were kept.
fn takes(tool: &Tool, arguments: &Value) -> bool {
    let Value::Object(sections) = arguments else {
        return false;
    };
    let mut sections = sections.clone();
    for name in INSIDE {
        sections.remove(name);
    }
    if !sections.contains_key("body") && accepts_nothing(&tool.input.body) {
        sections.insert("body".to_owned(), Value::Object(Map::new()));
    }
    tool.input.validator.is_valid(&Value::Object(sections))
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
