//! Which parts of the context a policy reads, found in its syntax tree.

use std::collections::BTreeMap;

use serde_json::Value;

/// The arguments that a policy reads, as a tree of names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    pub(crate) args: BTreeMap<String, Tree>,
    /// The policy uses all arguments at once, which has no type.
    pub(crate) everything: bool,
}

/// What is read of one argument.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    /// All of it, not only that it is there or what is below.
    pub(crate) whole: bool,
    pub(crate) below: BTreeMap<String, Self>,
}

impl Reads {
    /// Collects what the conditions of a policy read; `policy` is Cedar's JSON form.
    pub(crate) fn of(policy: &Value) -> Self {
        let mut reads = Self::default();
        let conditions = policy.get("conditions").and_then(Value::as_array);
        for condition in conditions.into_iter().flatten() {
            reads.visit(condition.get("body").unwrap_or(&Value::Null));
        }
        reads
    }

    /// Adds what another policy reads.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.everything |= other.everything;
        for (name, tree) in &other.args {
            self.args.entry(name.clone()).or_default().merge(tree);
        }
    }

    fn visit(&mut self, expression: &Value) {
        if let Some((path, use_of)) = context_path(expression) {
            self.add(&path, use_of);
            return;
        }
        match expression {
            Value::Object(members) => {
                for (operator, inside) in members {
                    if operator != "Value" {
                        self.visit(inside);
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.visit(item)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn add(&mut self, path: &[&str], use_of: Use) {
        let Some((first, rest)) = path.split_first() else {
            self.everything = true;
            return;
        };
        if *first != "args" {
            return;
        }
        let Some((name, rest)) = rest.split_first() else {
            self.everything |= use_of == Use::Value;
            return;
        };
        let mut tree = self.args.entry((*name).to_owned()).or_default();
        for name in rest {
            tree = tree.below.entry((*name).to_owned()).or_default();
        }
        tree.whole |= use_of == Use::Value;
    }
}

impl Tree {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.whole |= other.whole;
        for (name, tree) in &other.below {
            self.below.entry(name.clone()).or_default().merge(tree);
        }
    }
}

/// Whether a value is used, or only looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Value,
    Presence,
}

/// The names behind `context` that an expression walks, if that is all it does.
fn context_path(expression: &Value) -> Option<(Vec<&str>, Use)> {
    let members = expression
        .as_object()
        .filter(|members| members.len() == 1)?;
    let (operator, inside) = members.iter().next()?;
    match operator.as_str() {
        "Var" => (inside.as_str()? == "context").then(|| (Vec::new(), Use::Value)),
        "." | "has" => {
            let (mut path, _) = context_path(inside.get("left")?)?;
            match inside.get("attr")? {
                Value::String(name) => path.push(name),
                Value::Array(names) => path.extend(names.iter().filter_map(Value::as_str)),
                _ => return None,
            }
            Some((
                path,
                if operator == "has" {
                    Use::Presence
                } else {
                    Use::Value
                },
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(condition: &str, expect: &[&str]) {
        let text = format!("permit (principal, action, resource) when {{ {condition} }};");
        let policy = cedar_policy::Policy::parse(None, text).unwrap();
        let reads = Reads::of(&policy.to_json().unwrap());
        let mut found = Vec::new();
        fn list(prefix: &str, args: &BTreeMap<String, Tree>, found: &mut Vec<String>) {
            for (name, tree) in args {
                let path = format!("{prefix}{name}");
                found.push(if tree.whole {
                    format!("{path}!")
                } else {
                    path.clone()
                });
                list(&format!("{path}."), &tree.below, found);
            }
        }
        list("", &reads.args, &mut found);
        if reads.everything {
            found.push("*".to_owned());
        }
        assert_eq!(found, expect, "{condition}");
    }

    #[test]
    fn what_a_condition_reads_is_found_wherever_it_stands() {
        check("context.args.owner == \"acme\"", &["owner!"]);
        check(
            "context.args has title && context.args.title like \"a*\"",
            &["title!"],
        );
        check("context.args has title", &["title"]);
        check(
            "context.args has user.name && context.args.user.name == \"a\"",
            &["user", "user.name!"],
        );
        check("context.args[\"body.title\"] == \"a\"", &["body.title!"]);
        check(
            "[1, context.args.n].contains(1) || {\"a\": context.args.m} == {\"a\": 1}",
            &["m!", "n!"],
        );
        check(
            "if context.args.a then true else !context.args.b",
            &["a!", "b!"],
        );
        check(
            "decimal(\"1.0\").lessThan(decimal(\"2.0\")) && context.args.labels.contains(\"x\")",
            &["labels!"],
        );
        check("context.args == context.args", &["*"]);
        check(
            "principal in [principal] && context has approval && context.approval.by == \"passkey\"",
            &[],
        );
        check("[context].contains(context)", &["*"]);
        check("\"context.args.x\" == \"Var\"", &[]);
    }
}
