//! Capabilities that people granted, written as rules that end by themselves.
//!
//! INVARIANT: what a rule cannot hold an agent to is refused here, with the reason; nothing of a capability is dropped.

use exeat_types::{AgentId, Capability, Source, Timestamp, capability::Scalar};

use crate::{Policy, Tool, cache::groups_of, cedar::quoted};

/// The name that granted rules have in place of a file's.
pub const FILE: &str = "granted.toml";

/// What the name of every granted rule begins with; see [`Granted::prefix`].
pub const GRANTED: &str = "granted ";

/// Something that was granted.
#[derive(Debug, Clone)]
pub struct Granted<'a> {
    /// The grant.
    pub id: &'a str,
    /// To whom.
    pub agent: &'a AgentId,
    /// When it ends.
    pub until: Timestamp,
    /// What.
    pub capabilities: &'a [Capability],
}

impl Granted<'_> {
    /// What its rules' names begin with.
    pub fn prefix(&self) -> String {
        format!("{GRANTED}{}", self.id)
    }

    /// Its rules as TOML, under a policy that knows the tools.
    ///
    /// # Errors
    /// What cannot be enforced, in words.
    pub fn rules(&self, policy: &Policy) -> Result<String, String> {
        let mut out = String::new();
        for (index, capability) in self.capabilities.iter().enumerate() {
            let name = format!("{} #{}", self.prefix(), index.saturating_add(1));
            out.push_str(&rule(&name, self, capability, policy)?);
        }
        Ok(out)
    }
}

/// All rules of some grants, as the text of one file.
pub fn source(rules: &str) -> Source {
    Source::new(FILE, rules)
}

fn rule(
    name: &str,
    granted: &Granted<'_>,
    capability: &Capability,
    policy: &Policy,
) -> Result<String, String> {
    let resource = capability.resource();
    if resource == "*" {
        return Err("everything at once is not granted; name an API, as in `github.*`".to_owned());
    }
    let categories: &[&str] = match capability {
        Capability::Read { .. } => &["read"],
        Capability::Write { .. } => &["read", "write"],
        Capability::Delete { .. } => &["delete"],
        Capability::Transact { .. } | Capability::Custom { .. } => &[],
    };
    let meant = |tool: &&Tool| {
        let named = tool.name.as_str() == resource || groups_of(tool).contains(&resource);
        named && (categories.is_empty() || categories.contains(&tool.category.as_str()))
    };
    let tools: Vec<&Tool> = policy.tools().filter(meant).collect();
    if tools.is_empty() {
        return Err(format!(
            "no tool of `{resource}` is there to {}",
            capability.kind()
        ));
    }
    let conditions = conditions(capability, &tools)?;
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let mut out = format!(
        "[[rule]]\nname = {}\nagents = [{}]\ntools = [{}]\n",
        text(name),
        text(granted.agent.as_str()),
        text(&resource)
    );
    if !categories.is_empty() {
        let list: Vec<String> = categories.iter().map(|category| text(category)).collect();
        out.push_str(&format!("category = [{}]\n", list.join(", ")));
    }
    if !conditions.is_empty() {
        out.push_str(&format!("when = {}\n", text(&conditions.join(" && "))));
    }
    out.push_str(&format!(
        "until = {}\neffect = \"allow\"\n\n",
        text(&granted.until.to_string())
    ));
    Ok(out)
}

/// What has to hold of a call's arguments, as Cedar.
fn conditions(capability: &Capability, tools: &[&Tool]) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    for (name, value) in capability.filter().into_iter().flatten() {
        let value = match value {
            Scalar::Flag(flag) => flag.to_string(),
            Scalar::Number(number) => number.to_string(),
            Scalar::Text(text) => quoted(text),
        };
        out.push(condition(name, &format!("== {value}"), tools)?);
    }
    match capability {
        Capability::Write { conditions, .. } => {
            if conditions.max_items_per_request.is_some() {
                return Err("how many things one call changes cannot be enforced; \
                            leave `max_items_per_request` out, or grant less by a filter"
                    .to_owned());
            }
            if conditions.append_only {
                return Err("whether a call only adds cannot be told by its method, so `append_only` cannot be \
                            enforced; leave it out, and name the tools that add"
                    .to_owned());
            }
        }
        Capability::Transact {
            max_value,
            currency,
            ..
        } => {
            out.push(condition("amount", ">= 0", tools)?);
            out.push(condition("amount", &format!("<= {max_value}"), tools)?);
            if let Some(currency) = currency {
                out.push(condition(
                    "currency",
                    &format!("== {}", quoted(currency)),
                    tools,
                )?);
            }
        }
        Capability::Read { .. } | Capability::Delete { .. } | Capability::Custom { .. } => {}
    }
    Ok(out)
}

/// Every tool must have the argument, so that a filter holds everywhere it is believed to.
fn condition(name: &str, test: &str, tools: &[&Tool]) -> Result<String, String> {
    let lacks = |tool: &&&Tool| !tool.argument_names().any(|known| known == name);
    if let Some(tool) = tools.iter().find(lacks) {
        return Err(format!(
            "`{name}` cannot be enforced: `{}` has no such argument; name the tools that have it",
            tool.name
        ));
    }
    let at = quoted(name);
    Ok(format!(
        "context.args has {at} && context.args[{at}] {test}"
    ))
}

#[cfg(test)]
mod tests {
    use exeat_types::{AccountId, ToolName};
    use serde_json::{Value, json};

    use super::*;
    use crate::{Arguments, Cache, Effect, Question, Sources, World};

    const TOOLS: &str = r#"
[api]
name = "bank"
origin = "https://bank.example"
[[tool]]
name = "list"
request = "GET /accounts/{id}"
category = "read"
description = "d"
[tool.input.path]
properties = { id = { type = "string" } }
[[tool]]
name = "pay"
request = "POST /accounts/{id}/payments"
category = "write"
description = "d"
[tool.input.path]
properties = { id = { type = "string" } }
[tool.input.body]
type = "object"
required = ["amount", "currency"]
properties = { amount = { type = "integer" }, currency = { type = "string" } }
[[tool]]
name = "rename"
request = "PUT /accounts/{id}"
category = "write"
description = "d"
[tool.input.path]
properties = { id = { type = "string" } }
"#;

    fn sources(rules: &str) -> Sources {
        Sources {
            tools: vec![Source::new("bank.toml", TOOLS)],
            policy: vec![Source::new("policy.toml", ""), source(rules)],
            cedar: Vec::new(),
        }
    }

    fn agent() -> AgentId {
        AgentId::new("claude").unwrap()
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn compile(rules: &str, now: u64) -> Policy {
        let world = World {
            agents: [(agent(), Vec::new())].into(),
            credentials: [].into(),
        };
        let mut cache = Cache::default();
        cache.at(at(now));
        Policy::compile_with(&mut cache, &sources(rules), &world)
            .map_err(|report| report.to_string())
            .unwrap()
    }

    fn grant(capability: Value) -> Result<String, String> {
        let capabilities = [serde_json::from_value(capability).unwrap()];
        let agent = agent();
        let granted = Granted {
            id: "g1",
            agent: &agent,
            until: at(1000),
            capabilities: &capabilities,
        };
        granted.rules(&compile("", 0))
    }

    fn effect(policy: &Policy, tool: &str, arguments: Value, now: u64) -> Effect {
        let tool = policy.tool(ToolName::new(tool).unwrap().as_str()).unwrap();
        let decision = policy.decide(&Question {
            account: &AccountId::local(),
            agent: &agent(),
            tool,
            arguments: &Arguments::new(arguments),
            approval: None,
        });
        decision.at(at(now)).effect
    }

    #[test]
    fn a_grant_allows_what_it_says_until_it_ends() {
        let rules = grant(
            json!({"type": "transact", "resource": "bank.pay", "max_value": 50, "currency": "EUR"}),
        )
        .unwrap();
        let policy = compile(&rules, 0);
        let pay = |amount: i64, currency: &str| json!({"path": {"id": "a"}, "body": {"amount": amount, "currency": currency}});
        assert_eq!(
            effect(&policy, "bank.pay", pay(50, "EUR"), 0),
            Effect::Allow
        );
        assert_eq!(effect(&policy, "bank.pay", pay(51, "EUR"), 0), Effect::Deny);
        assert_eq!(effect(&policy, "bank.pay", pay(-5, "EUR"), 0), Effect::Deny);
        assert_eq!(effect(&policy, "bank.pay", pay(5, "USD"), 0), Effect::Deny);
        assert_eq!(
            effect(&policy, "bank.pay", pay(50, "EUR"), 999),
            Effect::Allow
        );
        assert_eq!(
            effect(&policy, "bank.pay", pay(50, "EUR"), 1000),
            Effect::Deny
        );
        assert_eq!(
            effect(&policy, "bank.list", json!({"path": {"id": "a"}}), 0),
            Effect::Deny
        );
        assert_eq!(compile(&rules, 1000).rule_count(), 0);
    }

    #[test]
    fn write_means_read_too_and_a_filter_holds_for_both() {
        let rules = grant(json!({"type": "write", "resource": "bank.*", "conditions": {"filter": {"id": "a\" || true || \""}}})).unwrap();
        let policy = compile(&rules, 0);
        let of = |id: &str| json!({"path": {"id": id}});
        assert_eq!(
            effect(&policy, "bank.list", of("a\" || true || \""), 0),
            Effect::Allow
        );
        assert_eq!(effect(&policy, "bank.rename", of("b"), 0), Effect::Deny);
        let read = compile(
            &grant(json!({"type": "read", "resource": "bank.*"})).unwrap(),
            0,
        );
        assert_eq!(effect(&read, "bank.list", of("b"), 0), Effect::Allow);
        assert_eq!(effect(&read, "bank.rename", of("b"), 0), Effect::Deny);
    }

    #[test]
    fn what_cannot_be_enforced_is_refused_and_says_why() {
        for (capability, told) in [
            (
                json!({"type": "read", "resource": "*"}),
                "everything at once",
            ),
            (json!({"type": "read", "resource": "post.*"}), "no tool"),
            (json!({"type": "delete", "resource": "bank.*"}), "no tool"),
            (
                json!({"type": "write", "resource": "bank.pay", "conditions": {"append_only": true}}),
                "`append_only` cannot be",
            ),
            (
                json!({"type": "write", "resource": "bank.*", "conditions": {"max_items_per_request": 3}}),
                "max_items_per_request",
            ),
            (
                json!({"type": "transact", "resource": "bank.*", "max_value": 3}),
                "`amount` cannot be enforced",
            ),
            (
                json!({"type": "read", "resource": "bank.list", "filter": {"owner": "a"}}),
                "`owner` cannot be enforced",
            ),
            (
                json!({"type": "custom", "namespace": "bank", "name": "close"}),
                "no tool",
            ),
        ] {
            let problem = grant(capability.clone()).unwrap_err();
            assert!(problem.contains(told), "{capability}: {problem}");
        }
        grant(
            json!({"type": "custom", "namespace": "bank", "name": "pay", "params": {"amount": 3}}),
        )
        .unwrap();
    }

    #[test]
    fn a_rule_that_forbids_or_asks_has_no_end() {
        let world = World {
            agents: [(agent(), Vec::new())].into(),
            credentials: [].into(),
        };
        for effect in ["deny", "prompt"] {
            let rules = format!(
                "[[rule]]\nname = \"a\"\nagents = [\"*\"]\ntools = [\"*\"]\neffect = \"{effect}\"\nuntil = \"2026-01-01T00:00:00Z\"\n"
            );
            let problem = Policy::compile(&sources(&rules), &world).err().unwrap();
            let told = "`until` belongs to `effect = \"allow\"`";
            assert!(problem.to_string().contains(told), "{effect}: {problem}");
        }
    }
}
