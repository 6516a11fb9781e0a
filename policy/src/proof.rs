//! Questions about every request there could be, as a solver takes them: two sets of policies, and what is assumed.
//!
//! A [`Case`] asks whether some request is allowed by one set and not by another. Groups of an agent are facts of the
//! configuration, so they are assumed, not guessed. What a case leaves out is listed in [`NOT_COVERED`]; nothing here
//! decides about a call.

use std::collections::{BTreeMap, BTreeSet};

use exeat_types::{AgentId, ToolName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Approve, Policy, Tool, cache,
    cedar::{
        Attribute, Reads, Untyped, Verdict, actions_named, argument_type, quoted, schema_text,
    },
};

/// What no proof about a policy says anything of, one sentence each.
pub const NOT_COVERED: [&str; 7] = [
    "which requests a tool matches: a request that no tool declares is refused, and another tool may lead to the same place",
    "argument schemas beyond types: patterns, lengths and ranges only refuse more than was assumed here",
    "limits, budgets, risk and the gate's own refusals, which can only refuse more or ask",
    "whether a human approves, and what; a proof takes an approval as there or not there",
    "`until`: a rule that has ended is left out, every other one counts as if it never ended",
    "errors in a policy: the gate refuses a call where a rule fails, Cedar skips that rule",
    "what an allowed call does at its upstream, and agents that are not sealed and go around the gate",
];

/// Is there a request that `allowed` lets through and `known` does not?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Case {
    /// Who asks.
    pub agent: AgentId,
    /// For which tool.
    pub tool: ToolName,
    /// The Cedar schema of such requests.
    pub schema: String,
    /// The policies that would let it through, in Cedar's JSON form.
    pub allowed: Vec<Value>,
    /// The policies that must not let it through; none lets nothing through.
    pub known: Vec<Value>,
    /// A Cedar expression that holds for every request that is meant.
    pub assuming: String,
}

/// Cases, and how long a solver may think about each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Questions {
    /// What is asked.
    pub cases: Vec<Case>,
    /// In milliseconds, for each.
    pub patience_ms: u64,
}

/// What a solver found about one case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "found", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// There is no such request.
    Nothing,
    /// There is one.
    Request(Counterexample),
    /// It could not be told.
    Unknown {
        /// Why.
        why: String,
    },
}

/// A request that answers the question with yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counterexample {
    /// The arguments that rules read; others may have any value.
    pub arguments: Value,
    /// How a human approved it, if one has to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
}

impl Policy {
    /// Can this agent call this tool without anybody approving?
    ///
    /// # Errors
    /// When policy knows no such agent or tool; in words.
    pub fn reaching(&self, agent: &AgentId, name: &ToolName) -> Result<Case, String> {
        let tool = self.tool(name.as_str());
        let tool = tool.ok_or_else(|| format!("no tool is named `{name}`"))?;
        let groups = self.engine().groups(agent);
        let groups = groups.ok_or_else(|| format!("unknown agent `{agent}`"))?;
        let side = Side::of(self, name, "")?;
        let attributes = side.attributes(tool, &side.reads)?;
        let assuming = format!(
            "{} && !(context has approval){}",
            subject(agent),
            side.memberships(&groups)
        );
        Ok(Case {
            agent: agent.clone(),
            tool: name.clone(),
            schema: schema_text(tool, &attributes, &side.named),
            allowed: side.policies,
            known: Vec::new(),
            assuming,
        })
    }
}

/// Does the newer policy let this agent do more with this tool, by itself or with an approval? Nothing when both say the
/// same in the same words.
///
/// # Errors
/// When the two cannot be compared: the tool takes other arguments, or has another category; in words.
pub fn widening(
    (old, new): (&Policy, &Policy),
    agent: &AgentId,
    name: &ToolName,
) -> Result<Option<Case>, String> {
    let (Some(tool), Some(groups)) = (new.tool(name.as_str()), new.engine().groups(agent)) else {
        // What is not there any more lets nothing through.
        return Ok(None);
    };
    let after = Side::of(new, name, "")?;
    let mut before = Side::default();
    let mut reads = after.reads.clone();
    let mut memberships = after.memberships(&groups);
    if let (Some(was), Some(old_groups)) = (old.tool(name.as_str()), old.engine().groups(agent)) {
        before = Side::of(old, name, BEFORE)?;
        if !after.policies.is_empty() {
            compare(&before, &after, (was, tool))?;
        }
        if before.written == after.written && old_groups == groups && same_types(was, tool) {
            return Ok(None);
        }
        reads.merge(&before.reads);
        if cache::groups_of(was) != cache::groups_of(tool) {
            return Err(format!("`{name}` has another category than before"));
        }
        if before.attributes(was, &reads)? != after.attributes(tool, &reads)? {
            return Err(format!(
                "`{name}` takes arguments of other types than before, and rules read them"
            ));
        }
        memberships.push_str(&before.memberships(&old_groups));
    }
    let attributes = after.attributes(tool, &reads)?;
    let named = after.named.union(&before.named).cloned().collect();
    let assuming = format!(
        "{} && (if context has approval then context.approval.by == \"passkey\" || context.approval.by == \"local\" else true){memberships}",
        subject(agent)
    );
    Ok(Some(Case {
        agent: agent.clone(),
        tool: name.clone(),
        schema: schema_text(tool, &attributes, &named),
        allowed: after.policies,
        known: before.policies,
        assuming,
    }))
}

/// Groups of the older policy stand beside those of the newer one under this prefix.
const BEFORE: &str = "before: ";

fn subject(agent: &AgentId) -> String {
    format!(
        "principal == Agent::{} && resource == Account::\"local\"",
        quoted(agent.as_str())
    )
}

/// Whether two tools would be called with the same types, as far as any rule could see.
fn same_types(was: &Tool, is: &Tool) -> bool {
    was.input_schema() == is.input_schema() && was.input.names == is.input.names
}

/// What no solver sees of a change: where a tool leads, and how a human has to approve.
fn compare(before: &Side, after: &Side, (was, is): (&Tool, &Tool)) -> Result<(), String> {
    let name = &is.name;
    let elsewhere = was.place() != is.place() || was.encoded_slash != is.encoded_slash;
    if elsewhere || was.graphql != is.graphql {
        return Err(format!("`{name}` leads elsewhere than before"));
    }
    let credentials = (&was.credential, &was.otherwise) != (&is.credential, &is.otherwise);
    if credentials || was.slots != is.slots {
        return Err(format!(
            "`{name}` is sent with another credential than before"
        ));
    }
    if was.local != is.local {
        return Err(format!(
            "`{name}` runs another program than before, or runs it otherwise"
        ));
    }
    let kept = |(id, was): (&String, &Approve)| {
        let is = after.asks.get(id);
        is.is_some_and(|is| is.is_at_least(*was))
    };
    let same_rules = before.written == after.written && before.asks.iter().all(kept);
    let strictest = before.asks.values().copied().reduce(Approve::and);
    let mut asks = after.asks.values();
    if same_rules || strictest.is_none_or(|was| asks.all(|is| is.is_at_least(was))) {
        return Ok(());
    }
    Err(format!(
        "`{name}` may be approved in a weaker way than before"
    ))
}

/// The policies about one tool.
#[derive(Default)]
struct Side {
    policies: Vec<Value>,
    /// The same before groups were renamed.
    written: Vec<Value>,
    reads: Reads,
    named: BTreeSet<String>,
    groups: BTreeSet<String>,
    /// How each rule that asks is answered.
    asks: BTreeMap<String, Approve>,
    prefix: &'static str,
}

impl Side {
    fn of(policy: &Policy, tool: &ToolName, prefix: &'static str) -> Result<Self, String> {
        let mut side = Self {
            prefix,
            ..Self::default()
        };
        let Some(slice) = policy.engine().slice(tool) else {
            return Ok(side);
        };
        let mut all: Vec<_> = slice.set.policies().collect();
        all.sort_by(|a, b| AsRef::<str>::as_ref(a.id()).cmp(b.id().as_ref()));
        for one in all {
            let told = |problem| {
                format!(
                    "the rule `{}` cannot be put to a solver: {problem}",
                    one.id()
                )
            };
            let mut tree = one.to_json().map_err(told)?;
            side.reads.merge(&Reads::of(&tree));
            side.named.extend(actions_named(one));
            side.written.push(tree.clone());
            rename_groups(&mut tree, prefix, &mut side.groups);
            side.policies.push(tree);
            if let Some((_, Verdict::Ask(approve))) = slice.meanings.get(one.id()) {
                side.asks.insert(one.id().to_string(), *approve);
            }
        }
        Ok(side)
    }

    /// The types of what is read; what the tool does not have has none.
    fn attributes(&self, tool: &Tool, reads: &Reads) -> Result<Vec<Attribute>, String> {
        let mut out = Vec::new();
        for (name, tree) in &reads.args {
            match argument_type(tool, name, tree) {
                Ok((_, attribute)) => out.push(attribute),
                Err(Untyped::Missing) => {}
                Err(Untyped::Inexact(place, what)) => {
                    return Err(format!("`{place}` of `{}` {what}", tool.name));
                }
            }
        }
        Ok(out)
    }

    fn memberships(&self, of: &BTreeSet<String>) -> String {
        let one = |group: &String| {
            let known = group.strip_prefix(self.prefix).unwrap_or(group);
            let not = if of.contains(known) { "" } else { "!" };
            format!(" && {not}(principal in Group::{})", quoted(group))
        };
        self.groups.iter().map(one).collect()
    }
}

/// Gives every group of a policy another name, and notes the new ones.
fn rename_groups(tree: &mut Value, prefix: &str, groups: &mut BTreeSet<String>) {
    match tree {
        Value::Object(members) => {
            if members.get("type").and_then(Value::as_str) == Some("Group")
                && let Some(Value::String(id)) = members.get_mut("id")
            {
                *id = format!("{prefix}{id}");
                groups.insert(id.clone());
                return;
            }
            for member in members.values_mut() {
                rename_groups(member, prefix, groups);
            }
        }
        Value::Array(items) => {
            for item in items {
                rename_groups(item, prefix, groups);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
#[path = "proof_tests.rs"]
mod tests;
