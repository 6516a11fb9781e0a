//! From rules to sets of Cedar policies, one slice for each tool: parsed, typed, strictly validated, sliced by scope.
//!
//! A slice leaves out only policies whose scope cannot match its tool, so it decides as the full set would. What is read
//! here is written by the operator; errors are shown at the operator's own line.

mod compile;
mod draft;
mod reads;
mod shape;
mod site;
mod slice;
mod types;
mod validate;
mod verbatim;

pub(crate) use compile::{Compiled, Verdict, actions_named, compile};
pub(crate) use draft::quoted;
pub(crate) use reads::Reads;
pub(crate) use shape::{Attribute, Rest, Shape, Untyped, argument_shape, of as argument_type};
pub(crate) use slice::{Read, Slice};
pub(crate) use validate::schema_text;

use cedar_policy::{EntityId, EntityTypeName, EntityUid};

/// Names an entity of one of our types.
pub(crate) fn entity(kind: Kind, id: &str) -> Option<EntityUid> {
    let name: EntityTypeName = kind.name().parse().ok()?;
    Some(EntityUid::from_type_name_and_id(name, EntityId::new(id)))
}

/// The types of entities that policies speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Agent,
    Group,
    Account,
    Action,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Agent => "Agent",
            Self::Group => "Group",
            Self::Account => "Account",
            Self::Action => "Action",
        }
    }
}

/// The one account of a gate, as policies name it.
pub(crate) const ACCOUNT: &str = "local";
