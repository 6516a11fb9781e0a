//! Compiling every rule and every Cedar file, checking what they read, and slicing them.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use cedar_policy::{ActionConstraint, Policy, PolicyId};
use exeat_types::{Digest, DigestBuilder, Report, Timestamp, ToolName};

use super::{
    Kind, Slice,
    draft::{Draft, drafts, quoted},
    reads::Reads,
    site::Site,
    validate::Validators,
};
use crate::{
    Approve, Approver, Cache, Remember, Sources, World,
    cache::{self, Tools},
    observed,
    rules::{self, Rule, Who},
};

/// What it means when a policy is satisfied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Permit,
    Forbid,
    /// It forbids until a human has approved.
    Ask(Approve),
}

/// One rule, or one policy of a Cedar file, parsed.
pub(crate) struct Compiled {
    pub(crate) digest: Digest,
    pub(crate) parts: Vec<Part>,
    pub(crate) reads: Reads,
    /// The actions and action groups that it names.
    pub(crate) named: BTreeSet<String>,
    /// Whom it is about, as far as that is plain.
    pub(crate) agents: Vec<Who>,
    /// When it is over.
    pub(crate) until: Option<Timestamp>,
}

/// One Cedar policy.
pub(crate) struct Part {
    pub(crate) policy: Policy,
    pub(crate) rule: Arc<str>,
    pub(crate) verdict: Verdict,
    pub(crate) text: String,
}

/// The tools that a policy can apply to.
#[derive(Clone)]
pub(crate) enum Scope {
    All,
    Some(Vec<usize>),
}

/// A compiled rule with its scope and its origin.
pub(crate) struct Placed<'r> {
    pub(crate) compiled: Arc<Compiled>,
    pub(crate) scope: Scope,
    pub(crate) site: Site<'r>,
}

/// Everything compiled, in the order of the files.
pub(crate) struct Assembly {
    pub(crate) all: Vec<Arc<Compiled>>,
    pub(crate) slices: HashMap<ToolName, Arc<Slice>>,
}

/// Compiles all rules; what is wrong goes to the report.
pub(crate) fn compile(
    cache: &mut Cache,
    sources: &Sources,
    world: &World,
    tools: &Tools,
    report: &mut Report,
) -> Option<Assembly> {
    let mut rules = rules::read(&sources.policy, world, tools, report);
    // What is over is no rule any more; it was read all the same, so that nothing wrong hides in it.
    rules.retain(|rule| !rule.until.is_some_and(|until| cache.is_over(until)));
    let mut placed = Vec::new();
    for rule in &rules {
        let Some(compiled) = compile_rule(cache, rule, report) else {
            continue;
        };
        let scope = rule_scope(rule, tools);
        placed.push(Placed {
            compiled,
            scope,
            site: Site::Rule(rule),
        });
    }
    for source in &sources.cedar {
        super::verbatim::read(source, world, tools, &mut placed, report);
    }
    if !sources.cedar.is_empty() {
        check_ids(&placed, report);
    }
    check_all(cache, &placed, tools, report);
    if !report.is_empty() {
        return None;
    }
    let mut slices = slice_all(cache, scoped(&placed), tools);
    slices.extend(slices_of_observed(cache, &placed));
    Some(Assembly {
        slices,
        all: placed.into_iter().map(|one| one.compiled).collect(),
    })
}

/// Every policy needs an id of its own; those of TOML rules were checked when they were read.
fn check_ids(placed: &[Placed<'_>], report: &mut Report) {
    let mut ids: BTreeSet<&str> = BTreeSet::new();
    for one in placed {
        for part in &one.compiled.parts {
            let id: &str = part.policy.id().as_ref();
            if !ids.insert(id) {
                let written = format!("@id({})", quoted(id));
                one.site
                    .say_near(&written, format!("a second rule `{id}`"), report);
            }
        }
    }
}

fn compile_rule(cache: &mut Cache, rule: &Rule, report: &mut Report) -> Option<Arc<Compiled>> {
    let drafts = drafts(rule);
    let mut builder = DigestBuilder::new();
    for draft in &drafts {
        builder.update(
            cache::key(&[&rule.name, &draft.text, &format!("{:?}", draft.verdict)]).as_bytes(),
        );
    }
    builder.update(cache::key(&[&format!("{:?}", rule.until)]).as_bytes());
    let digest = builder.finish();
    if let Some(known) = cache.rules.find(&digest) {
        return Some(known);
    }
    let mut compiled = Compiled {
        digest,
        parts: Vec::new(),
        reads: Reads::default(),
        named: BTreeSet::new(),
        agents: rule.agents.clone(),
        until: rule.until,
    };
    for draft in drafts {
        let policy = parse_draft(&draft, rule, report)?;
        if rule.when.is_some() || rule.unless.is_some() {
            let tree = policy.to_json().ok();
            // SECURITY: text such as `true } when { false` would add a condition of its own.
            let conditions = tree
                .as_ref()
                .and_then(|tree| tree.get("conditions"))
                .and_then(serde_json::Value::as_array);
            if conditions.map(Vec::len) != Some(conditions_of(rule, &draft)) {
                let at = rule
                    .when
                    .as_ref()
                    .or(rule.unless.as_ref())
                    .map_or(&rule.at, |expression| &expression.at);
                report.at(
                    &rule.source,
                    at.clone(),
                    "`when` and `unless` have to be one expression each",
                );
                return None;
            }
            compiled.reads.merge(&Reads::of(&tree.unwrap_or_default()));
        }
        compiled.named.extend(actions_named(&policy));
        compiled.parts.push(Part {
            policy,
            rule: rule.name.as_str().into(),
            verdict: draft.verdict,
            text: draft.text,
        });
    }
    let compiled = Arc::new(compiled);
    cache.rules.keep(digest, Arc::clone(&compiled));
    Some(compiled)
}

fn conditions_of(rule: &Rule, draft: &Draft) -> usize {
    let asks = matches!(draft.verdict, Verdict::Ask(_));
    let has = [
        rule.agents.len() > 1,
        !rule.categories.is_empty(),
        rule.when.is_some(),
        rule.unless.is_some(),
        asks,
    ];
    has.into_iter().filter(|has| *has).count()
}

fn parse_draft(draft: &Draft, rule: &Rule, report: &mut Report) -> Option<Policy> {
    let problems = match Policy::parse(Some(PolicyId::new(&draft.id)), &draft.text) {
        Ok(policy) => return Some(policy),
        Err(problems) => problems,
    };
    if matches!(draft.verdict, Verdict::Ask(_)) {
        // The policy beside it holds the same text and has reported it.
        return None;
    }
    let site = Site::Rule(rule);
    let mut told = false;
    for (_, piece) in &draft.pieces {
        let Some(expression) = piece.of(rule) else {
            continue;
        };
        let Err(problems) = expression.text.parse::<cedar_policy::Expression>() else {
            continue;
        };
        for problem in problems.iter() {
            told = true;
            site.say_parse(expression, problem, report);
        }
    }
    if !told {
        report.at(
            &rule.source,
            rule.at.clone(),
            format!("this rule is not valid Cedar: {problems}"),
        );
    }
    None
}

/// The actions and groups that a policy names anywhere.
pub(crate) fn actions_named(policy: &Policy) -> impl Iterator<Item = String> {
    let action = |uid: &cedar_policy::EntityUid| uid.type_name().to_string() == Kind::Action.name();
    policy
        .entity_literals()
        .into_iter()
        .filter(action)
        .map(|uid| AsRef::<str>::as_ref(uid.id()).to_owned())
}

fn rule_scope(rule: &Rule, tools: &Tools) -> Scope {
    let everything = rule.actions.is_empty() || rule.actions.iter().any(|name| name == "*");
    if everything && rule.categories.is_empty() {
        return Scope::All;
    }
    let named: BTreeSet<usize> = match everything {
        true => (0..tools.list.len()).collect(),
        false => rule
            .actions
            .iter()
            .flat_map(|name| members(name, tools))
            .collect(),
    };
    // The category is the first condition of the policy and cannot fail, so it narrows as a scope does.
    let fits = |index: &usize| {
        let category = tools
            .list
            .get(*index)
            .map(|tool| cache::category_group(tool.category.as_str()));
        rule.categories.is_empty()
            || category.is_some_and(|category| rule.categories.contains(&category))
    };
    Scope::Some(named.into_iter().filter(fits).collect())
}

/// The tools that an action or an action group stands for.
pub(crate) fn members(name: &str, tools: &Tools) -> Vec<usize> {
    let group = tools.groups.get(name).cloned().unwrap_or_default();
    tools.index(name).into_iter().chain(group).collect()
}

/// The tools that the scope of a policy leaves possible.
pub(crate) fn policy_scope(policy: &Policy, tools: &Tools) -> Scope {
    let of = |uid: &cedar_policy::EntityUid| members(uid.id().as_ref(), tools);
    match policy.action_constraint() {
        ActionConstraint::Any => Scope::All,
        ActionConstraint::Eq(uid) => {
            Scope::Some(tools.index(uid.id().as_ref()).into_iter().collect())
        }
        ActionConstraint::In(uids) => {
            let all: BTreeSet<usize> = uids.iter().flat_map(of).collect();
            Scope::Some(all.into_iter().collect())
        }
    }
}

/// Checks what each rule reads against each tool it can apply to, unless that was done for the same rule and tools.
fn check_all(cache: &mut Cache, placed: &[Placed<'_>], tools: &Tools, report: &mut Report) {
    let mut validators = Validators::default();
    for one in placed {
        let reads_nothing = one.compiled.reads.args.is_empty() && !one.compiled.reads.everything;
        if matches!(one.site, Site::Rule(rule) if rule.when.is_none() && rule.unless.is_none())
            && reads_nothing
        {
            continue;
        }
        let mut builder = DigestBuilder::new();
        builder.update(one.compiled.digest.as_bytes());
        builder.update(tools.digest.as_bytes());
        let done = builder.finish();
        if cache.checks.find(&done).is_some() {
            continue;
        }
        let before = report.problems().len();
        super::types::check(one, tools, &mut validators, report);
        if report.problems().len() == before {
            cache.checks.keep(done, ());
        }
    }
}

fn scoped<'p>(placed: &'p [Placed<'_>]) -> impl Iterator<Item = (&'p Compiled, Cow<'p, Scope>)> {
    placed
        .iter()
        .map(|one| (&*one.compiled, Cow::Borrowed(&one.scope)))
}

/// What is forbidden, or asked about, for requests that no tool declares. Nothing has to allow them, so a rule that only
/// allows is left out: it cannot fail there.
fn slices_of_observed(cache: &mut Cache, placed: &[Placed<'_>]) -> HashMap<ToolName, Arc<Slice>> {
    let tools = &*observed::TOOLS;
    let restricts = |one: &&Placed<'_>| {
        let mut parts = one.compiled.parts.iter();
        parts.any(|part| part.verdict != Verdict::Permit)
    };
    let scope = |one: &Placed<'_>| match &one.site {
        Site::Rule(rule) => rule_scope(rule, tools),
        Site::Text(..) => one
            .compiled
            .parts
            .first()
            .map_or(Scope::All, |part| policy_scope(&part.policy, tools)),
    };
    let restricting = placed.iter().filter(restricts);
    let scoped: Vec<_> = restricting
        .map(|one| (&*one.compiled, Cow::Owned(scope(one))))
        .collect();
    slice_all(cache, scoped.into_iter(), tools)
}

fn slice_all<'p>(
    cache: &mut Cache,
    placed: impl Iterator<Item = (&'p Compiled, Cow<'p, Scope>)>,
    tools: &Tools,
) -> HashMap<ToolName, Arc<Slice>> {
    let mut by_tool: Vec<Vec<&Compiled>> = vec![Vec::new(); tools.list.len()];
    for (compiled, scope) in placed {
        match &*scope {
            Scope::All => by_tool.iter_mut().for_each(|slice| slice.push(compiled)),
            Scope::Some(indexes) => {
                for index in indexes {
                    if let Some(slice) = by_tool.get_mut(*index) {
                        slice.push(compiled);
                    }
                }
            }
        }
    }
    let mut slices = HashMap::with_capacity(tools.list.len());
    for (tool, compiled) in tools.list.iter().zip(by_tool) {
        let mut builder = DigestBuilder::new();
        builder.update(tools.digest.as_bytes());
        builder.update(tool.name.as_str().as_bytes());
        compiled
            .iter()
            .for_each(|one| builder.update(one.digest.as_bytes()));
        let key = builder.finish();
        let known = cache.slices.find(&key);
        let slice = known.or_else(|| Slice::build(tool, compiled.into_iter()).map(Arc::new));
        if let Some(slice) = slice {
            cache.slices.keep(key, Arc::clone(&slice));
            slices.insert(tool.name.clone(), slice);
        }
    }
    slices
}

/// What an approval has to be when a Cedar file asks for one.
pub(crate) const fn plain_approval(by: Approver) -> Approve {
    Approve {
        by,
        remember: Remember::Once,
        approvers: 1,
        devices: 1,
        within: None,
    }
}
