//! Checking a rule against every tool it can apply to: what it reads exists, has a type, and is used as that type.

use std::collections::{BTreeMap, BTreeSet};

use exeat_types::{Report, did_you_mean};

use super::{
    compile::{Placed, Scope},
    shape::{self, Attribute, Untyped},
    validate::{Validators, schema_text},
};
use crate::{Tool, cache, cache::Tools};

/// Reports everything that is wrong with one rule.
pub(crate) fn check(
    placed: &Placed<'_>,
    tools: &Tools,
    validators: &mut Validators,
    report: &mut Report,
) {
    if placed.compiled.reads.everything {
        let message = "a rule cannot use the whole context at once".to_owned();
        let problem = placed.site.say(0, None, message, report);
        problem.help("name one argument at a time, such as `context.args.owner`");
        return;
    }
    let in_scope: Vec<&Tool> = match &placed.scope {
        Scope::All => tools.list.iter().map(|tool| &**tool).collect(),
        Scope::Some(indexes) => indexes
            .iter()
            .filter_map(|index| Some(&**tools.list.get(*index)?))
            .collect(),
    };
    let survey = Survey::of(placed, &in_scope);
    let mut typed = survey.inexact.is_empty();
    for (name, (tool, what)) in &survey.inexact {
        let declared = tools.all.iter().find(|one| one.tool.name == tool.name);
        let file = declared.map_or("its file", |one| &one.source.name);
        let message = format!("rules cannot read the argument `{name}` of `{}`", tool.name);
        placed.site.say_near(name, message, report).help(format!(
            "in its schema in {file}, {what}; give it one plain type, or leave it out of the rule"
        ));
    }
    for (name, count) in survey.missing {
        if count == in_scope.len() {
            typed = false;
            say_missing(placed, name, &in_scope, report);
        }
    }
    if typed {
        for (tool, attributes) in survey.alike.values() {
            if validate(placed, tool, attributes, validators, report) == Validity::Broken {
                // One tool is enough to show what is wrong.
                return;
            }
        }
    }
}

/// What the tools in the scope of a rule have for the arguments that it reads.
#[derive(Default)]
struct Survey<'t> {
    /// How many tools lack an argument.
    missing: BTreeMap<&'t str, usize>,
    /// An argument without a type, the first tool that has it so, and why.
    inexact: BTreeMap<&'t str, (&'t Tool, String)>,
    /// One of each kind of tools that look alike to the rule.
    alike: BTreeMap<String, (&'t Tool, Vec<Attribute>)>,
}

impl<'t> Survey<'t> {
    fn of(placed: &'t Placed<'_>, in_scope: &[&'t Tool]) -> Self {
        let compiled = &placed.compiled;
        let mut survey = Self::default();
        for tool in in_scope {
            let mut attributes = Vec::new();
            for (name, tree) in &compiled.reads.args {
                match shape::of(tool, name, tree) {
                    Ok((_, attribute)) => attributes.push(attribute),
                    Err(Untyped::Missing) => *survey.missing.entry(name).or_default() += 1,
                    Err(Untyped::Inexact(place, what)) => {
                        let what = format!("`{place}` {what}");
                        survey.inexact.entry(name).or_insert((tool, what));
                    }
                }
            }
            let groups = cache::groups_of(tool);
            let is_in = |name: &&String| groups.contains(name) || **name == tool.name.as_str();
            let belongs: Vec<&String> = compiled.named.iter().filter(is_in).collect();
            let kind = format!("{attributes:?} {belongs:?}");
            survey.alike.entry(kind).or_insert((tool, attributes));
        }
        survey
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Validity {
    Sound,
    Broken,
}

/// Validates each policy of a rule as one tool would be called.
fn validate(
    placed: &Placed<'_>,
    tool: &Tool,
    attributes: &[Attribute],
    validators: &mut Validators,
    report: &mut Report,
) -> Validity {
    let schema = schema_text(tool, attributes, &placed.compiled.named);
    for (index, part) in placed.compiled.parts.iter().enumerate() {
        let Err(findings) = validators.check(&schema, &[&part.policy]) else {
            continue;
        };
        for finding in findings {
            let message = format!("{}, for `{}`", finding.message, tool.name);
            let problem = placed.site.say(index, finding.at, message, report);
            if let Some(help) = finding.help {
                problem.help(help);
            }
        }
        // The second policy of a rule repeats the first, so one is enough.
        return Validity::Broken;
    }
    Validity::Sound
}

fn say_missing(placed: &Placed<'_>, name: &str, in_scope: &[&Tool], report: &mut Report) {
    let message = match in_scope {
        [one] => format!("`{}` has no argument `{name}`", one.name),
        _ => format!("no tool of this rule has an argument `{name}`"),
    };
    let problem = placed.site.say_near(name, message, report);
    let known: BTreeSet<&str> = in_scope
        .iter()
        .flat_map(|tool| tool.argument_names())
        .collect();
    let near = did_you_mean(name, known.iter().copied());
    match near {
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None => problem.help(format!(
            "arguments: {}",
            known.into_iter().take(12).collect::<Vec<_>>().join(", ")
        )),
    };
}
