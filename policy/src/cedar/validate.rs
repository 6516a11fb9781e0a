//! Strict validation of one policy against the smallest schema that says all it can see.
//!
//! Cedar's validator walks every action of a schema, so it is given one tool at a time, and only one of those that look
//! alike to the policy. INVARIANT: two tools whose read arguments have the same types, and which belong to the groups
//! that the policy names, validate alike.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write as _,
    ops::Range,
    sync::Arc,
};

use cedar_policy::{Policy, PolicySet, Schema, ValidationMode, Validator};
use exeat_types::Digest;
use miette::Diagnostic as _;

use super::{
    draft::quoted,
    shape::{Attribute, Shape},
};
use crate::{Tool, cache};

/// What the validator found, with its place in the policy's text.
pub(crate) struct Finding {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    pub(crate) at: Option<Range<usize>>,
}

/// Validators for the schemas met in one compilation.
#[derive(Default)]
pub(crate) struct Validators(HashMap<Digest, Arc<Validator>>);

impl Validators {
    /// Validates policies against a schema text.
    ///
    /// # Errors
    /// What is wrong with the policies, or with the schema that we wrote.
    pub(crate) fn check(&mut self, schema: &str, policies: &[&Policy]) -> Result<(), Vec<Finding>> {
        let validator = self.validator(schema).map_err(|message| {
            vec![Finding {
                message,
                help: None,
                at: None,
            }]
        })?;
        let set = PolicySet::from_policies(policies.iter().map(|policy| (*policy).clone()))
            .map_err(|problem| {
                vec![Finding {
                    message: problem.to_string(),
                    help: None,
                    at: None,
                }]
            })?;
        let result = validator.validate(&set, ValidationMode::Strict);
        let findings: Vec<Finding> = result.validation_errors().map(finding).collect();
        if result.validation_passed() && findings.is_empty() {
            Ok(())
        } else {
            Err(findings)
        }
    }

    fn validator(&mut self, schema: &str) -> Result<Arc<Validator>, String> {
        let key = cache::key(&[schema]);
        if let Some(known) = self.0.get(&key) {
            return Ok(Arc::clone(known));
        }
        let (parsed, _) =
            Schema::from_cedarschema_str(schema).map_err(|problem| problem.to_string())?;
        let validator = Arc::new(Validator::new(parsed));
        self.0.insert(key, Arc::clone(&validator));
        Ok(validator)
    }
}

fn finding(error: &cedar_policy::ValidationError) -> Finding {
    Finding {
        message: without_policy(&error.to_string()),
        help: error.help().map(|help| without_policy(&help.to_string())),
        at: error
            .labels()
            .and_then(|mut labels| labels.next())
            .map(|label| {
                let start = label.offset();
                start..start.saturating_add(label.len())
            }),
    }
}

/// The place of a finding names its policy, so the text need not.
fn without_policy(text: &str) -> String {
    let rest = text
        .strip_prefix("for policy `")
        .and_then(|rest| rest.split_once("`, "));
    rest.map_or(text, |(_, rest)| rest).to_owned()
}

/// The schema in which one tool can be called with these arguments; `named` are further actions that a policy names.
pub(crate) fn schema_text(
    tool: &Tool,
    attributes: &[Attribute],
    named: &BTreeSet<String>,
) -> String {
    let name = tool.name.as_str();
    let groups: BTreeSet<String> = cache::groups_of(tool).into_iter().collect();
    let mut out = "entity Group;\nentity Agent in [Group];\nentity Account;\n".to_owned();
    for other in groups.union(named).filter(|other| *other != name) {
        out.push_str(&format!("action {};\n", quoted(other)));
    }
    let parents: Vec<String> = groups.iter().map(|group| quoted(group)).collect();
    let args = record_text(attributes);
    if write!(
        out,
        "action {} in [{}] appliesTo {{\n  principal: [Agent],\n  resource: [Account],\n  context: {{ \"args\": {args}, \"approval\"?: {{ \"by\": String }} }},\n}};\n",
        quoted(name),
        parents.join(", "),
    )
    .is_err()
    {
        out.clear();
    }
    out
}

fn record_text(attributes: &[Attribute]) -> String {
    let member = |attribute: &Attribute| {
        let mark = if attribute.required { "" } else { "?" };
        format!(
            "{}{mark}: {}",
            quoted(&attribute.name),
            shape_text(&attribute.shape)
        )
    };
    format!(
        "{{ {} }}",
        attributes.iter().map(member).collect::<Vec<_>>().join(", ")
    )
}

fn shape_text(shape: &Shape) -> String {
    match shape {
        Shape::Bool => "Bool".to_owned(),
        Shape::Long => "Long".to_owned(),
        Shape::Text => "String".to_owned(),
        Shape::Set(inner) => format!("Set<{}>", shape_text(inner)),
        Shape::Record(attributes, _) => record_text(attributes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_carry_a_place_and_no_policy_name() {
        let schema = "entity Group; entity Agent in [Group]; entity Account;\naction \"t\" appliesTo { principal: [Agent], resource: [Account], context: { \"args\": { \"n\"?: Long } } };";
        let text = "permit (principal, action, resource) when { context.args.n == 1 };";
        let policy = Policy::parse(None, text).unwrap();
        let findings = Validators::default().check(schema, &[&policy]).unwrap_err();
        assert_eq!(findings.len(), 1);
        assert!(
            !findings[0].message.contains("policy0"),
            "{}",
            findings[0].message
        );
        let at = findings[0].at.clone().unwrap();
        assert_eq!(text.get(at), Some("context.args.n"));
    }
}
