//! Reading `policy.toml`: rules in the operator's words, each problem at its place.

mod approve;

pub(crate) use approve::read as read_approve;

use std::{collections::BTreeMap, ops::Range};

use exeat_types::{
    AgentId, Report, Source, Timestamp,
    config::{Document, Item},
    did_you_mean,
};

use crate::{
    Approve, Approver, Category, Effect, Remember, World,
    cache::{Tools, category_group},
};

/// A rule as written.
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) agents: Vec<Who>,
    /// Action groups and tools, as Cedar names them; all tools if empty.
    pub(crate) actions: Vec<String>,
    /// Action groups of categories; every category if empty.
    pub(crate) categories: Vec<String>,
    pub(crate) when: Option<Expression>,
    pub(crate) unless: Option<Expression>,
    pub(crate) effect: Effect,
    pub(crate) approve: Option<Approve>,
    /// When it is over.
    pub(crate) until: Option<Timestamp>,
    pub(crate) source: Source,
    pub(crate) at: Range<usize>,
}

/// Whom a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Who {
    Everyone,
    Agent(AgentId),
    Group(String),
}

/// A Cedar expression and where its first character stands.
pub(crate) struct Expression {
    pub(crate) text: String,
    pub(crate) at: Range<usize>,
    /// Where the text itself begins, if it stands in the file letter by letter.
    pub(crate) begin: Option<usize>,
}

impl Expression {
    fn read(item: Item<'_>, report: &mut Report) -> Option<Self> {
        let text = item.text(report)?.to_owned();
        let at = item.span();
        let begin = item.source().text.get(at.clone()).and_then(|raw| {
            let quotes = ["'''", "\"\"\"", "'", "\""]
                .into_iter()
                .find(|quotes| raw.starts_with(quotes))?;
            let inner = raw.strip_prefix(quotes)?.strip_suffix(quotes)?;
            let first = if quotes.len() == 3 {
                inner.strip_prefix('\n').unwrap_or(inner)
            } else {
                inner
            };
            let skipped = quotes.len() + inner.len() - first.len();
            (first == text).then(|| at.start + skipped)
        });
        Some(Self { text, at, begin })
    }

    /// The place of a part of the text.
    pub(crate) fn place(&self, part: Range<usize>) -> Range<usize> {
        match self.begin {
            Some(begin) => {
                let end = part.end.min(self.text.len());
                (begin + part.start.min(end))..(begin + end)
            }
            None => self.at.clone(),
        }
    }
}

/// Reads every file of rules.
pub(crate) fn read(
    sources: &[Source],
    world: &World,
    tools: &Tools,
    report: &mut Report,
) -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut names: BTreeMap<String, ()> = BTreeMap::new();
    let groups = known_groups(world);
    for source in sources {
        let document = Document::parse(source, report);
        let root = document.root();
        let items = root
            .get("rule")
            .map(|item| item.items(report))
            .unwrap_or_default();
        // Read on their own, in `limits/read.rs` and `risk.rs`.
        root.leave("limits");
        root.get("risk");
        root.finish(report);
        let reader = Reader::new(world, tools, &groups);
        for item in items {
            let Some(rule) = reader.read_rule(item, report) else {
                continue;
            };
            if names.insert(rule.name.clone(), ()).is_some() {
                report.at(
                    source,
                    rule.at.clone(),
                    format!("a second rule `{}`", rule.name),
                );
            }
            rules.push(rule);
        }
    }
    rules
}

pub(crate) fn known_groups(world: &World) -> Vec<&str> {
    let mut groups: Vec<&str> = world
        .agents
        .values()
        .flatten()
        .map(String::as_str)
        .collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

/// Reads names of agents, tools and categories against what there is.
pub(crate) struct Reader<'r> {
    world: &'r World,
    tools: &'r Tools,
    groups: &'r [&'r str],
}

const EFFECTS: [(&str, Effect); 3] = [
    ("allow", Effect::Allow),
    ("deny", Effect::Deny),
    ("prompt", Effect::Prompt),
];

impl<'r> Reader<'r> {
    pub(crate) const fn new(world: &'r World, tools: &'r Tools, groups: &'r [&'r str]) -> Self {
        Self {
            world,
            tools,
            groups,
        }
    }

    fn read_rule(&self, item: Item<'_>, report: &mut Report) -> Option<Rule> {
        let table = item.table(report)?;
        let name_item = table.need("name", report);
        let name = name_item.and_then(|item| rule_name(item, report));
        let agents = table
            .need("agents", report)
            .map(|item| self.read_agents(item, report));
        let tools = table.get("tools");
        let categories = table.get("category");
        if tools.is_none() && categories.is_none() {
            let problem = report.at(
                table.source(),
                table.span(),
                "a rule has to name `tools` or a `category`",
            );
            problem.help("write `tools = [\"*\"]` if every tool is meant");
        }
        let actions = tools
            .map(|item| self.read_tools(item, report))
            .unwrap_or_default();
        let categories = categories
            .map(|item| self.read_categories(item, report))
            .unwrap_or_default();
        let when = table
            .get("when")
            .and_then(|item| Expression::read(item, report));
        let unless = table
            .get("unless")
            .and_then(|item| Expression::read(item, report));
        let effect = table
            .need("effect", report)
            .and_then(|item| item.word(report, &EFFECTS));
        let approve_item = table.get("approve");
        let approve = match (effect, approve_item) {
            (Some(Effect::Prompt), Some(item)) => item
                .table(report)
                .map(|table| approve::read(&table, report)),
            (Some(Effect::Prompt), None) => Some(Approve {
                by: Approver::Passkey,
                remember: Remember::Once,
                approvers: 1,
                devices: 1,
                within: None,
            }),
            (Some(_), Some(item)) => {
                item.problem(report, "`approve` belongs to `effect = \"prompt\"`");
                None
            }
            _ => None,
        };
        let until = table
            .get("until")
            .and_then(|item| read_until(item, effect, report));
        table.finish(report);
        let at = name_item?.span();
        let (name, agents, effect) = (name?, agents.filter(|agents| !agents.is_empty())?, effect?);
        let source = table.source().clone();
        Some(Rule {
            name,
            agents,
            actions,
            categories,
            when,
            unless,
            effect,
            approve,
            until,
            source,
            at,
        })
    }

    pub(crate) fn read_agents(&self, item: Item<'_>, report: &mut Report) -> Vec<Who> {
        let mut who = Vec::new();
        let before = report.problems().len();
        let items = item.items(report);
        if items.is_empty() && report.problems().len() == before {
            item.problem(report, "expected the names of agents")
                .help("`agents = [\"*\"]` means everyone");
        }
        for item in items {
            let Some(text) = item.text(report) else {
                continue;
            };
            if text == "*" {
                who.push(Who::Everyone);
            } else if let Some(group) = text.strip_prefix("group:") {
                if !self.groups.contains(&group) {
                    let problem =
                        item.problem(report, format!("no agent is in the group `{group}`"));
                    let near = did_you_mean(group, self.groups.iter().copied());
                    near.map(|near| problem.help(format!("did you mean `group:{near}`?")));
                }
                who.push(Who::Group(group.to_owned()));
            } else {
                let Some(agent) = item.parse::<AgentId>(report) else {
                    continue;
                };
                if !self.world.agents.contains_key(&agent) {
                    let problem = item.problem(report, format!("unknown agent `{agent}`"));
                    problem.label("not defined in [agents]");
                    let near = did_you_mean(
                        agent.as_str(),
                        self.world.agents.keys().map(AgentId::as_str),
                    );
                    near.map(|near| problem.help(format!("did you mean `{near}`?")));
                }
                who.push(Who::Agent(agent));
            }
        }
        who
    }

    pub(crate) fn read_tools(&self, item: Item<'_>, report: &mut Report) -> Vec<String> {
        let mut actions = Vec::new();
        let before = report.problems().len();
        let items = item.items(report);
        if items.is_empty() && report.problems().len() == before {
            item.problem(report, "expected the names of tools")
                .help("`tools = [\"*\"]` means every tool");
        }
        for item in items {
            let Some(text) = item.text(report) else {
                continue;
            };
            let group =
                (text == "*" || text.ends_with(".*")) && self.tools.groups.contains_key(text);
            if !group && self.tools.index(text).is_none() {
                let message = match text.contains('*') {
                    true => format!("`{text}` matches no tool"),
                    false => format!("no tool is named `{text}`"),
                };
                let names = self.tools.list.iter().map(|tool| tool.name.as_str());
                let prefixes = self
                    .tools
                    .groups
                    .keys()
                    .map(String::as_str)
                    .filter(|g| !g.starts_with("category:"));
                let near = if text.contains('*') {
                    did_you_mean(text, prefixes)
                } else {
                    did_you_mean(text, names)
                };
                let problem = item.problem(report, message);
                match near {
                    Some(near) => problem.help(format!("did you mean `{near}`?")),
                    None if text.contains('*') => {
                        problem.help("a pattern is `*`, or whole parts and `.*` at the end")
                    }
                    None => problem,
                };
            }
            actions.push(text.to_owned());
        }
        actions
    }

    pub(crate) fn read_categories(&self, item: Item<'_>, report: &mut Report) -> Vec<String> {
        let mut groups = Vec::new();
        let before = report.problems().len();
        let items = item.items(report);
        if items.is_empty() && report.problems().len() == before {
            item.problem(report, "expected the names of categories");
        }
        for item in items {
            let Some(category) = item.parse::<Category>(report) else {
                continue;
            };
            let group = category_group(category.as_str());
            if !Category::KNOWN.contains(&category.as_str())
                && !self.tools.groups.contains_key(&group)
            {
                let problem =
                    item.problem(report, format!("no tool has the category `{category}`"));
                let used = self
                    .tools
                    .groups
                    .keys()
                    .filter_map(|group| group.strip_prefix("category:"));
                let near = did_you_mean(category.as_str(), used.chain(Category::KNOWN));
                near.map(|near| problem.help(format!("did you mean `{near}`?")));
            }
            groups.push(group);
        }
        groups
    }
}

/// The moment when a rule is over. Only what lets calls through by itself can be: at the end of a rule that forbids or asks,
/// another one might let everything through.
fn read_until(item: Item<'_>, effect: Option<Effect>, report: &mut Report) -> Option<Timestamp> {
    // SECURITY: a rule that asks also forbids until somebody has approved; that half must not end.
    if matches!(effect, Some(Effect::Deny | Effect::Prompt)) {
        item.problem(report, "`until` belongs to `effect = \"allow\"`")
            .help("take `until` out, or the rule once its time has come");
        return None;
    }
    item.parse(report)
}

fn rule_name(item: Item<'_>, report: &mut Report) -> Option<String> {
    let text = item.text(report)?;
    if text.trim() != text
        || text.is_empty()
        || text.chars().count() > 100
        || text.chars().any(char::is_control)
    {
        item.problem(report, "expected a name of 1 to 100 characters on one line");
        return None;
    }
    Some(text.to_owned())
}
