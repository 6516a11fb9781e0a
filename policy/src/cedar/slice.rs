//! The policies that can apply to one tool, with what they read and what each of them means.

use std::{collections::HashMap, sync::Arc};

use cedar_policy::{Entity, EntityUid, PolicyId, PolicySet};
use exeat_types::Timestamp;

use super::{
    Compiled, Kind, Reads, Verdict, entity,
    shape::{self, Attribute},
};
use crate::{Tool, cache, tool::Place};

/// Everything needed to decide calls of one tool.
pub(crate) struct Slice {
    pub(crate) set: PolicySet,
    /// The policies that permit, to see whether an approval would help at all.
    pub(crate) permits: PolicySet,
    pub(crate) meanings: HashMap<PolicyId, (Arc<str>, Verdict)>,
    /// When policies that permit are over, if they ever are.
    pub(crate) ends: HashMap<PolicyId, Timestamp>,
    pub(crate) plan: Vec<Read>,
    pub(crate) action: EntityUid,
    pub(crate) action_entity: Entity,
}

/// One argument that some policy of the slice reads.
pub(crate) struct Read {
    pub(crate) place: Place,
    pub(crate) attribute: Attribute,
}

impl Slice {
    /// Puts the policies of a tool together; nothing if that fails, and then nothing is allowed.
    pub(crate) fn build<'c>(
        tool: &Tool,
        compiled: impl Iterator<Item = &'c Compiled>,
    ) -> Option<Self> {
        let mut meanings = HashMap::new();
        let mut ends = HashMap::new();
        let mut reads = Reads::default();
        let mut all = Vec::new();
        let mut permits = Vec::new();
        let mut asks = false;
        for one in compiled {
            reads.merge(&one.reads);
            for part in &one.parts {
                asks |= matches!(part.verdict, Verdict::Ask(_));
                if part.verdict == Verdict::Permit {
                    permits.push(part.policy.clone());
                    ends.extend(one.until.map(|until| (part.policy.id().clone(), until)));
                }
                all.push(part.policy.clone());
                meanings.insert(
                    part.policy.id().clone(),
                    (Arc::clone(&part.rule), part.verdict),
                );
            }
        }
        let mut plan = Vec::new();
        for (name, tree) in &reads.args {
            // What the tool does not have is absent from every call; what has no type was refused when it was read.
            if let Ok((place, attribute)) = shape::of(tool, name, tree) {
                plan.push(Read { place, attribute });
            }
        }
        let action = entity(Kind::Action, tool.name.as_str())?;
        let groups = cache::groups_of(tool);
        let parents = groups
            .iter()
            .map(|group| entity(Kind::Action, group))
            .collect::<Option<_>>()?;
        let permits = if asks { permits } else { Vec::new() };
        Some(Self {
            set: PolicySet::from_policies(all).ok()?,
            permits: PolicySet::from_policies(permits).ok()?,
            meanings,
            ends,
            plan,
            action_entity: Entity::new_no_attrs(action.clone(), parents),
            action,
        })
    }
}
