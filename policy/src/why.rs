//! Why a request would be allowed or not: the tool, the violations, every rule that was looked at.
//!
//! For people, not for the road: it evaluates each rule by itself and remembers nothing.

use cedar_policy::PolicySet;
use exeat_types::{AccountId, AgentId, ToolName};
use serde::Serialize;

use crate::{
    Arguments, Decision, Effect, Found, Policy, Question, Request, Unsettled, Violation,
    cedar::{Compiled, Kind, Slice, Verdict, entity},
    rules::Who,
};

/// Most templates shown when no tool was found.
const NEAREST_MAX: usize = 5;

/// What would happen to a request, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The tool that takes it.
    pub tool: Option<ToolName>,
    /// Some tool names its origin.
    pub host_known: bool,
    /// Some tool has its path, with another method.
    pub path_known: bool,
    /// When there is no tool: those whose templates are nearest, as method and template with the name.
    pub nearest: Vec<String>,
    /// What is wrong with its arguments.
    pub violations: Vec<Violation>,
    /// Every rule that can apply to the tool, in the order of the files.
    pub rules: Vec<RuleSeen>,
    /// The answer, if it was reached.
    pub decision: Option<Decision>,
    /// The limits that the call falls under, each with its name and in words.
    pub limits: Vec<LimitSeen>,
}

/// A limit that a call falls under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LimitSeen {
    /// The name.
    pub name: String,
    /// What it says.
    pub words: String,
}

/// A rule, as it looks at one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleSeen {
    /// The name.
    pub name: String,
    /// What it says when it matches.
    pub effect: Effect,
    /// How it looks at this request.
    pub sight: Sight,
}

/// How a rule looks at one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sight {
    /// It matches.
    Matches,
    /// It is about other agents.
    OtherAgents,
    /// Its conditions do not hold.
    ConditionsFail,
    /// It could not be evaluated, which denies.
    CannotBeEvaluated,
}

impl Policy {
    /// Explains what would happen to a request of an agent.
    pub fn explain(&self, agent: &AgentId, request: &Request<'_>) -> Explanation {
        let mut out = Explanation {
            tool: None,
            host_known: true,
            path_known: true,
            nearest: Vec::new(),
            violations: Vec::new(),
            rules: Vec::new(),
            decision: None,
            limits: Vec::new(),
        };
        let found = match self.find(request.method, request.origin, request.path) {
            Ok(found) => found,
            Err(missing) => {
                let near = self.nearest(request.origin, request.path, NEAREST_MAX);
                let shown = near
                    .iter()
                    .map(|tool| format!("{} {} ({})", tool.method, tool.template, tool.name));
                out.nearest = shown.collect();
                (out.host_known, out.path_known) = (missing.host_known, missing.path_known);
                return out;
            }
        };
        let first = found.tool.name.clone();
        let found = match found.settle(request) {
            Ok(found) => found,
            Err(Unsettled::Unknown(problem)) => {
                out.violations = vec![Violation::new("body", problem)];
                return out;
            }
            Err(Unsettled::Invalid(violations)) => {
                out.tool = Some(first);
                out.violations = violations;
                return out;
            }
        };
        out.tool = Some(found.tool.name.clone());
        match found.check(request) {
            Ok(arguments) => self.explain_rules(agent, &found, &arguments, &mut out),
            Err(violations) => out.violations = violations,
        }
        out
    }

    fn explain_rules(
        &self,
        agent: &AgentId,
        found: &Found,
        arguments: &Arguments,
        out: &mut Explanation,
    ) {
        let account = AccountId::local();
        let question = Question {
            account: &account,
            agent,
            tool: &found.tool,
            arguments,
            approval: None,
        };
        if let Some(slice) = self.engine().slice(&found.tool.name) {
            for compiled in self.engine().compiled() {
                out.rules.extend(self.look(compiled, slice, &question));
            }
        }
        out.decision = Some(self.decide(&question));
        let bounds = self.limits().of(agent);
        let covering = bounds
            .iter()
            .filter(|bound| bound.limit.covers(&found.tool));
        let seen = covering.map(|bound| LimitSeen {
            name: bound.limit.name.to_string(),
            words: bound.limit.to_string(),
        });
        out.limits = seen.collect();
    }

    /// One rule by itself, if it belongs to the slice.
    fn look(
        &self,
        compiled: &Compiled,
        slice: &Slice,
        question: &Question<'_>,
    ) -> Option<RuleSeen> {
        let part = compiled.parts.first()?;
        slice.meanings.get(part.policy.id())?;
        let asks = compiled
            .parts
            .iter()
            .any(|part| matches!(part.verdict, Verdict::Ask(_)));
        let effect = match part.verdict {
            _ if asks => Effect::Prompt,
            Verdict::Permit => Effect::Allow,
            Verdict::Forbid | Verdict::Ask(_) => Effect::Deny,
        };
        let sight = self
            .sight(compiled, slice, question)
            .unwrap_or(Sight::CannotBeEvaluated);
        Some(RuleSeen {
            name: part.rule.to_string(),
            effect,
            sight,
        })
    }

    fn sight(&self, compiled: &Compiled, slice: &Slice, question: &Question<'_>) -> Option<Sight> {
        let part = compiled.parts.first()?;
        let (request, entities) = self.engine().request(slice, question)?;
        let principal = request.principal()?;
        let about = |who: &Who| match who {
            Who::Everyone => true,
            Who::Agent(agent) => agent == question.agent,
            Who::Group(group) => entity(Kind::Group, group)
                .is_some_and(|group| entities.is_ancestor_of(&group, principal)),
        };
        if !compiled.agents.iter().any(about) {
            return Some(Sight::OtherAgents);
        }
        let alone = PolicySet::from_policies([part.policy.clone()]).ok()?;
        let response = self
            .engine()
            .authorizer()
            .is_authorized(&request, &alone, &entities);
        Some(if response.diagnostics().errors().next().is_some() {
            Sight::CannotBeEvaluated
        } else if response.diagnostics().reason().next().is_some() {
            Sight::Matches
        } else {
            Sight::ConditionsFail
        })
    }
}
