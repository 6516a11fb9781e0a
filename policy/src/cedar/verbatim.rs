//! Cedar files, taken as they stand: for what TOML rules cannot say.

use std::{collections::BTreeSet, sync::Arc};

use cedar_policy::{Effect, Policy, PolicyId, PolicySet, PrincipalConstraint};
use exeat_types::{AgentId, Report, Source};

use super::{
    ACCOUNT, Kind,
    compile::{
        Compiled, Part, Placed, Scope, Verdict, actions_named, plain_approval, policy_scope,
    },
    draft::quoted,
    reads::Reads,
    site::{Site, label},
};
use crate::{Approver, World, cache, cache::Tools, rules::Who};

/// Reads one file and adds its policies.
pub(crate) fn read<'r>(
    source: &'r Source,
    world: &World,
    tools: &Tools,
    placed: &mut Vec<Placed<'r>>,
    report: &mut Report,
) {
    let set = match source.text.parse::<PolicySet>() {
        Ok(set) => set,
        Err(problems) => {
            for problem in problems.iter() {
                let end = source.text.len();
                let at = label(problem).unwrap_or(end..end);
                report.at(source, at, problem.to_string());
            }
            return;
        }
    };
    let whole = Site::Text(source, 0..source.text.len());
    if let Some(template) = set.templates().next() {
        let slot = template
            .slots()
            .next()
            .map(ToString::to_string)
            .unwrap_or_default();
        whole.say_near(
            &slot,
            "a policy with a slot is not accepted".to_owned(),
            report,
        );
    }
    // Cedar names policies `policy0`, `policy1`, .. in the order of the file.
    let mut policies: Vec<(usize, &Policy)> = set
        .policies()
        .map(|policy| (number(policy.id()), policy))
        .collect();
    policies.sort_by_key(|(number, _)| *number);
    for (index, policy) in policies {
        let name = policy
            .annotation("id")
            .map_or_else(|| format!("{}#{index}", source.name), str::to_owned);
        let site = Site::Text(source, 0..source.text.len());
        let Some(verdict) = verdict(policy, &site, report) else {
            continue;
        };
        check_names(policy, world, tools, &site, report);
        let text = policy.to_string();
        let reads = Reads::of(&policy.to_json().unwrap_or_default());
        let digest = cache::key(&[&name, &text, &format!("{verdict:?}")]);
        let named: BTreeSet<String> = actions_named(policy).collect();
        let scope: Scope = policy_scope(policy, tools);
        let agents = vec![about(policy)];
        let policy = policy.new_id(PolicyId::new(&name));
        let part = Part {
            policy,
            rule: name.as_str().into(),
            verdict,
            text,
        };
        let compiled = Arc::new(Compiled {
            digest,
            parts: vec![part],
            reads,
            named,
            agents,
            until: None,
        });
        placed.push(Placed {
            compiled,
            scope,
            site,
        });
    }
}

fn number(id: &PolicyId) -> usize {
    let id: &str = id.as_ref();
    id.strip_prefix("policy")
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(usize::MAX)
}

/// Whom a policy is about, where its head says so.
fn about(policy: &Policy) -> Who {
    match policy.principal_constraint() {
        PrincipalConstraint::Eq(uid) | PrincipalConstraint::In(uid) => {
            let id: &str = uid.id().as_ref();
            match AgentId::new(id)
                .ok()
                .filter(|_| uid.type_name().to_string() == Kind::Agent.name())
            {
                Some(agent) => Who::Agent(agent),
                None => Who::Group(id.to_owned()),
            }
        }
        _ => Who::Everyone,
    }
}

/// A forbid with `@approve("passkey")` or `@approve("local")` asks instead.
fn verdict(policy: &Policy, site: &Site<'_>, report: &mut Report) -> Option<Verdict> {
    match (policy.effect(), policy.annotation("approve")) {
        (Effect::Permit, None) => Some(Verdict::Permit),
        (Effect::Forbid, None) => Some(Verdict::Forbid),
        (Effect::Forbid, Some("passkey")) => Some(Verdict::Ask(plain_approval(Approver::Passkey))),
        (Effect::Forbid, Some("local")) => Some(Verdict::Ask(plain_approval(Approver::Local))),
        (Effect::Forbid, Some(other)) => {
            let written = format!("@approve({})", quoted(other));
            let problem = site.say_near(&written, format!("`{written}` is not known"), report);
            problem.help("write `@approve(\"passkey\")` or `@approve(\"local\")`");
            None
        }
        (Effect::Permit, Some(by)) => {
            let written = format!("@approve({})", quoted(by));
            let problem = site.say_near(
                &written,
                "`@approve` belongs to a forbid".to_owned(),
                report,
            );
            problem.help("write `forbid (..) unless { context has approval && context.approval.by == \"passkey\" }`");
            None
        }
    }
}

fn check_names(
    policy: &Policy,
    world: &World,
    tools: &Tools,
    site: &Site<'_>,
    report: &mut Report,
) {
    for uid in policy.entity_literals() {
        let id: &str = uid.id().as_ref();
        let kind = uid.type_name().to_string();
        let known = match kind.as_str() {
            "Agent" => world.agents.contains_key(id),
            "Group" => world.agents.values().flatten().any(|group| group == id),
            "Account" => id == ACCOUNT,
            "Action" => {
                tools.index(id).is_some()
                    || tools.groups.contains_key(id)
                    || id.starts_with("category:")
            }
            _ => false,
        };
        if !known {
            let written = format!("{kind}::{}", quoted(id));
            let problem = site.say_near(&written, format!("unknown entity `{written}`"), report);
            let kinds = [Kind::Agent, Kind::Group, Kind::Account, Kind::Action].map(Kind::name);
            if !kinds.contains(&kind.as_str()) {
                problem.help(format!("entities are of the kinds {}", kinds.join(", ")));
            }
        }
    }
}
