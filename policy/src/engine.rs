//! Finding the answer: one slice of Cedar policies per tool, and the memory of answers already found.
//!
//! INVARIANT: whatever fails in here is a deny. A remembered answer was computed from exactly the same agent, tool and
//! arguments that rules read; answers under an approval are never remembered.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Entities, Entity, EntityUid, Request, Response,
    RestrictedExpression,
};
use exeat_types::{AccountId, AgentId, Report, Timestamp, ToolName};

use crate::{
    Approve, Cache, Decision, Effect, Question, Silence, Sources, World,
    bounded::Bounded,
    cache::Tools,
    cedar::{self, ACCOUNT, Compiled, Kind, Slice, Verdict, entity},
    context::{Mismatch, arguments_record, project},
};

/// Most answers remembered.
const ANSWERS_MAX: usize = 65_536;
/// Longest key of an answer; longer arguments are decided afresh.
const KEY_BYTES_MAX: usize = 2048;
/// Most sets of entities kept ready.
const ENTITIES_MAX: usize = 16_384;

/// Everything that decides.
pub(crate) struct Engine {
    authorizer: Authorizer,
    slices: HashMap<ToolName, Arc<Slice>>,
    agents: HashMap<AgentId, Entity>,
    account: EntityUid,
    answers: Bounded<Box<[u8]>, Decision>,
    entities: Bounded<(AgentId, ToolName), Arc<Entities>>,
    compiled: Vec<Arc<Compiled>>,
}

impl Engine {
    /// Compiles all rules; what is wrong goes to the report.
    pub(crate) fn compile(
        cache: &mut Cache,
        sources: &Sources,
        world: &World,
        tools: &Tools,
        report: &mut Report,
    ) -> Option<Self> {
        let assembly = cedar::compile(cache, sources, world, tools, report)?;
        let mut agents = HashMap::new();
        for (agent, groups) in &world.agents {
            let uid = entity(Kind::Agent, agent.as_str())?;
            let parents: Option<HashSet<_>> = groups
                .iter()
                .map(|group| entity(Kind::Group, group))
                .collect();
            agents.insert(agent.clone(), Entity::new_no_attrs(uid, parents?));
        }
        Some(Self {
            authorizer: Authorizer::new(),
            slices: assembly.slices,
            agents,
            account: entity(Kind::Account, ACCOUNT)?,
            answers: Bounded::new(ANSWERS_MAX),
            entities: Bounded::new(ENTITIES_MAX),
            compiled: assembly.all,
        })
    }

    /// Answers a question, from memory if it was answered before.
    pub(crate) fn decide(&self, question: &Question<'_>) -> Decision {
        let Some(slice) = self.slices.get(&question.tool.name) else {
            return Decision::deny(Vec::new());
        };
        if question.approval.is_some() {
            return self.decide_in(slice, question);
        }
        let mut key = Vec::with_capacity(128);
        for part in [
            question.account.as_str(),
            question.agent.as_str(),
            question.tool.name.as_str(),
        ] {
            key.extend_from_slice(part.as_bytes());
            key.push(0);
        }
        if project(&slice.plan, &question.arguments.value, &mut key).is_err() {
            return Decision::deny(Vec::new());
        }
        if key.len() > KEY_BYTES_MAX {
            return self.decide_in(slice, question);
        }
        if let Some(known) = self.answers.find(&*key) {
            return known;
        }
        let decision = self.decide_in(slice, question);
        self.answers.keep(key.into_boxed_slice(), decision.clone());
        decision
    }

    /// Answers a question with the policies of a slice.
    pub(crate) fn decide_in(&self, slice: &Slice, question: &Question<'_>) -> Decision {
        let Some((request, entities)) = self.request(slice, question) else {
            return Decision::deny(Vec::new());
        };
        let response = self
            .authorizer
            .is_authorized(&request, &slice.set, &entities);
        let would_permit = || {
            let permits = self
                .authorizer
                .is_authorized(&request, &slice.permits, &entities);
            permits.decision() == cedar_policy::Decision::Allow
        };
        interpret(&response, slice, would_permit)
    }

    /// What Cedar is asked, if the question can be put at all.
    pub(crate) fn request(
        &self,
        slice: &Slice,
        question: &Question<'_>,
    ) -> Option<(Request, Arc<Entities>)> {
        if *question.account != AccountId::local() {
            return None;
        }
        let agent = self.agents.get(question.agent)?;
        let context = context(slice, question).ok()?;
        let (principal, resource) = (agent.uid(), self.account.clone());
        // The context's types were proven at load, and `context.rs` builds nothing else.
        let request =
            Request::new(principal, slice.action.clone(), resource, context, None).ok()?;
        Some((request, self.entities_of(slice, question, agent)?))
    }

    fn entities_of(
        &self,
        slice: &Slice,
        question: &Question<'_>,
        agent: &Entity,
    ) -> Option<Arc<Entities>> {
        let key = (question.agent.clone(), question.tool.name.clone());
        if let Some(known) = self.entities.find(&key) {
            return Some(known);
        }
        let all = [
            agent.clone(),
            Entity::with_uid(self.account.clone()),
            slice.action_entity.clone(),
        ];
        let entities = Arc::new(Entities::from_entities(all, None).ok()?);
        self.entities.keep(key, Arc::clone(&entities));
        Some(entities)
    }

    /// The groups of an agent that policy knows.
    pub(crate) fn groups(&self, agent: &AgentId) -> Option<BTreeSet<String>> {
        let (_, _, parents) = self.agents.get(agent)?.clone().into_inner();
        let name = |uid: EntityUid| AsRef::<str>::as_ref(uid.id()).to_owned();
        Some(parents.into_iter().map(name).collect())
    }

    pub(crate) fn slice(&self, tool: &ToolName) -> Option<&Arc<Slice>> {
        self.slices.get(tool)
    }

    pub(crate) const fn authorizer(&self) -> &Authorizer {
        &self.authorizer
    }

    pub(crate) fn compiled(&self) -> &[Arc<Compiled>] {
        &self.compiled
    }

    pub(crate) fn cedar_text(&self) -> String {
        let parts = self.compiled.iter().flat_map(|compiled| &compiled.parts);
        parts
            .map(|part| part.text.trim_end())
            .collect::<Vec<_>>()
            .join("\n\n")
            + "\n"
    }
}

fn context(slice: &Slice, question: &Question<'_>) -> Result<Context, Mismatch> {
    let mut pairs = vec![(
        "args".to_owned(),
        arguments_record(&slice.plan, &question.arguments.value)?,
    )];
    if let Some(by) = question.approval {
        let by = [(
            "by".to_owned(),
            RestrictedExpression::new_string(by.to_owned()),
        )];
        pairs.push((
            "approval".to_owned(),
            RestrictedExpression::new_record(by).ok().ok_or(Mismatch)?,
        ));
    }
    Context::from_pairs(pairs).ok().ok_or(Mismatch)
}

/// What Cedar's answer means: an error denies, a forbid denies, a rule that asks prompts, a permit allows.
fn interpret(response: &Response, slice: &Slice, would_permit: impl FnOnce() -> bool) -> Decision {
    let name = |id| slice.meanings.get(id).map(|(rule, _)| rule.to_string());
    let mut failed = BTreeSet::new();
    for AuthorizationError::PolicyEvaluationError(error) in response.diagnostics().errors() {
        failed.insert(name(error.policy_id()).unwrap_or_default());
    }
    if !failed.is_empty() {
        return Decision::deny(failed.into_iter().collect());
    }
    let (mut forbids, mut asks, mut permits) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut approve: Option<Approve> = None;
    for id in response.diagnostics().reason() {
        match slice.meanings.get(id) {
            Some((rule, Verdict::Permit)) => drop(permits.insert(rule.to_string())),
            Some((rule, Verdict::Ask(how))) => {
                asks.insert(rule.to_string());
                approve = Some(approve.map_or(*how, |other| other.and(*how)));
            }
            Some((rule, Verdict::Forbid)) => drop(forbids.insert(rule.to_string())),
            None => return Decision::deny(Vec::new()),
        }
    }
    let until = ending(response, slice);
    let list = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>();
    match response.decision() {
        cedar_policy::Decision::Allow => Decision {
            effect: Effect::Allow,
            rules: list(permits),
            approve: None,
            until,
            silence: Silence::Broken,
        },
        cedar_policy::Decision::Deny if !forbids.is_empty() => Decision::deny(list(forbids)),
        cedar_policy::Decision::Deny if !asks.is_empty() && would_permit() => Decision {
            effect: Effect::Prompt,
            rules: list(asks),
            approve,
            until: None,
            silence: Silence::Broken,
        },
        cedar_policy::Decision::Deny => Decision {
            silence: if asks.is_empty() {
                Silence::Complete
            } else {
                Silence::Broken
            },
            ..Decision::deny(Vec::new())
        },
    }
}

/// When the last of the policies that let a call through is over; nothing if one never is.
fn ending(response: &Response, slice: &Slice) -> Option<Timestamp> {
    let reasons = response.diagnostics().reason();
    let permits =
        reasons.filter(|id| matches!(slice.meanings.get(*id), Some((_, Verdict::Permit))));
    let ends: Option<Vec<Timestamp>> = permits.map(|id| slice.ends.get(id).copied()).collect();
    ends?.into_iter().max()
}

#[cfg(test)]
mod tests;
