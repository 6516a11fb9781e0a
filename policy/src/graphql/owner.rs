//! Which tool a GraphQL request belongs to, when several share one path.
//!
//! Each field at the top has one owner among them: the tool that names it, else the tool of that kind which names none.
//! A request whose fields have different owners belongs to nobody, so nothing can ride along with what is allowed.

use std::{collections::BTreeSet, sync::Arc};

use super::Operation;
use crate::Tool;

/// What `operation` and `fields` of a tool say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selection {
    pub(crate) operation: Operation,
    /// The fields it takes; without a list, those that no other tool of the same path and kind names.
    pub(crate) fields: Option<Vec<String>>,
}

/// The field that every type has and that says nothing.
const NEUTRAL: &str = "__typename";

/// The tool that takes everything that was asked for.
///
/// # Errors
/// A sentence that says why there is none.
pub(crate) fn owner<'t>(
    tools: &'t [Arc<Tool>],
    operation: Operation,
    fields: &BTreeSet<String>,
) -> Result<&'t Arc<Tool>, String> {
    let kind = operation.name();
    let of_kind: Vec<(&Arc<Tool>, &Selection)> = tools
        .iter()
        .filter_map(|tool| Some((tool, tool.graphql.as_ref()?)))
        .filter(|(_, selection)| selection.operation == operation)
        .collect();
    let open = || of_kind.iter().find(|(_, one)| one.fields.is_none());
    let mut owner: Option<&Arc<Tool>> = None;
    for field in fields.iter().filter(|field| *field != NEUTRAL) {
        let names = |selection: &Selection| {
            let fields = selection.fields.as_ref();
            fields.is_some_and(|fields| fields.contains(field))
        };
        let naming = of_kind.iter().find(|(_, one)| names(one)).or_else(open);
        let (tool, _) = naming
            .ok_or_else(|| format!("no tool takes the {kind} `{}`", crate::wire::shorten(field)))?;
        match owner {
            Some(before) if before.name != tool.name => {
                return Err(format!(
                    "one request asks for fields of `{}` and of `{}`",
                    before.name, tool.name
                ));
            }
            _ => owner = Some(tool),
        }
    }
    let any = || open().or_else(|| of_kind.first()).map(|(tool, _)| *tool);
    owner
        .or_else(any)
        .ok_or_else(|| format!("no tool takes a {kind}"))
}

/// What keeps a tool from standing beside others of the same path, if anything.
pub(crate) fn collisions(before: &[Arc<Tool>], tool: &Tool) -> Option<String> {
    let own = tool.graphql.as_ref()?;
    before.iter().find_map(|other| {
        let their = other.graphql.as_ref()?;
        if own.operation != their.operation {
            return None;
        }
        match (&own.fields, &their.fields) {
            (None, None) => Some(format!(
                "`{}` and `{}` both take whatever no other tool names",
                other.name, tool.name
            )),
            (Some(own), Some(their)) => own
                .iter()
                .find(|field| their.contains(field))
                .map(|field| format!("`{}` and `{}` both take `{field}`", other.name, tool.name)),
            (Some(_), None) | (None, Some(_)) => None,
        }
    })
}
