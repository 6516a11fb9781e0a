//! What a tool declares of placeholders and of tokens in responses, in the words of custody.

use exeat_custody::{MintRule, MintedAt, MintedPart, Slot};
use exeat_policy::{self as policy, Mints, Tool};
use exeat_types::Reach;

/// Where placeholders resolve in a request to this path.
pub(crate) fn slots(tool: &Tool, path: &str) -> Vec<Slot> {
    let slots = tool.slots.iter();
    slots.filter_map(|one| slot(one, tool, path)).collect()
}

fn slot(slot: &policy::Slot, tool: &Tool, path: &str) -> Option<Slot> {
    Some(match slot {
        policy::Slot::Header(name) => Slot::Header(name.clone()),
        policy::Slot::Query(name) => Slot::Query(name.clone()),
        policy::Slot::Body(pointer) => Slot::Body(pointer.clone()),
        policy::Slot::Path(name) => Slot::Path(tool.part_of_path(name, path)?),
        policy::Slot::Basic(part) => Slot::Basic(*part),
        policy::Slot::Protocol(prefix) => Slot::Protocol(prefix.clone()),
    })
}

/// Which secrets the responses of a tool hand out.
pub(crate) fn mint_rules(tool: &Tool) -> Vec<MintRule> {
    match &tool.response.mints {
        Mints::Nothing => Vec::new(),
        Mints::Form { form, to } => {
            let own = [Reach::from(tool.origin.clone())];
            let to = if to.is_empty() { &own[..] } else { to };
            MintRule::known(*form, to, &tool.origin)
        }
        Mints::Places(places) => places.iter().map(rule).collect(),
    }
}

fn rule(place: &policy::MintPlace) -> MintRule {
    let slot = |slot: &policy::Slot| match slot {
        policy::Slot::Header(name) => Some(Slot::Header(name.clone())),
        policy::Slot::Query(name) => Some(Slot::Query(name.clone())),
        policy::Slot::Body(pointer) => Some(Slot::Body(pointer.clone())),
        policy::Slot::Path(_) | policy::Slot::Basic(_) | policy::Slot::Protocol(_) => None,
    };
    MintRule {
        at: match &place.at {
            policy::MintedAt::Header(name) => MintedAt::Header(name.clone()),
            policy::MintedAt::Pointer(pointer) => MintedAt::Pointer(pointer.clone()),
        },
        part: MintedPart::Token,
        to: place.to.clone(),
        slots: place.slots.iter().filter_map(slot).collect(),
    }
}
