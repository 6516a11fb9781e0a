//! `[limits.NAME]` of `policy.toml`: how often, how many at a time, when, and out of which budgets, in the operator's words.
//!
//! Only what is declared is here, with what follows from it and the calendar. What was used so far is kept elsewhere: this
//! module counts nothing, reads no clock, and has no word that allows a call.

mod hours;
mod period;
mod read;
#[cfg(test)]
mod tests;
mod tokens;
mod words;

pub use hours::Hours;
pub use period::Period;
pub use tokens::most_tokens;

pub(crate) use read::read;

use std::{borrow::Cow, collections::HashMap, sync::Arc, time::Duration};

use exeat_types::{AgentId, Host, Money};
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::{Approve, Tool, rules::Who};

/// What agents may use at most.
#[derive(Default)]
pub struct Limits {
    all: Vec<Arc<Limit>>,
    /// Those of each agent that is known.
    by_agent: HashMap<AgentId, Vec<Arc<Bound>>>,
}

/// One `[limits.NAME]`.
#[derive(Debug)]
pub struct Limit {
    /// Its name.
    pub name: Arc<str>,
    who: Vec<Who>,
    /// Tools and groups of tools; every tool if empty.
    tools: Vec<String>,
    /// Categories; every one if empty.
    categories: Vec<String>,
    /// Whether each agent has all of it, or all have it together.
    pub share: Share,
    /// How often.
    pub rate: Option<Rate>,
    /// How many calls at a time.
    pub concurrency: Option<u32>,
    /// When.
    pub hours: Hours,
    /// For how long at a time.
    pub session: Option<Duration>,
    /// Whether a human has to be there.
    pub human: Human,
    /// Above what a human is asked.
    pub ask_above: AskAbove,
    /// What happens when an agent goes to a host for the first time.
    pub first_use: FirstUse,
    /// Hosts that are never new.
    pub known_hosts: Vec<Host>,
    /// How a human answers where this limit asks.
    pub approve: Approve,
    /// What may be used.
    pub budgets: Vec<Budget>,
    /// The zone of days, weeks and months.
    pub zone: TimeZone,
}

/// Who has what a limit leaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Share {
    /// Each agent all of it.
    #[default]
    Each,
    /// All agents together.
    Together,
}

/// How often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// So many calls.
    pub count: u32,
    /// In so much time.
    pub per: Duration,
    /// So many of them at once.
    pub burst: u32,
}

/// Whether a human has to be there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Human {
    /// Nobody has to.
    #[default]
    Elsewhere,
    /// Somebody has touched a passkey a short while ago.
    Present,
}

/// Above what cost a human is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AskAbove {
    /// Of one call.
    pub call: Option<Money>,
    /// Of a day, with this call.
    pub day: Option<Money>,
}

/// What happens when an agent goes to a host for the first time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FirstUse {
    /// Nothing.
    #[default]
    Allow,
    /// A human is asked.
    Prompt,
    /// The call is refused.
    Deny,
}

/// What a budget counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Money.
    Spend,
    /// Calls.
    Calls,
    /// Bytes of bodies sent upstream.
    BytesUp,
    /// Bytes of bodies handed to the agent.
    BytesDown,
    /// Tokens of language models.
    Tokens,
}

impl Measure {
    /// Every measure.
    pub const ALL: [Self; 5] = [
        Self::Spend,
        Self::Calls,
        Self::BytesUp,
        Self::BytesDown,
        Self::Tokens,
    ];

    /// The key in `policy.toml`, and the middle of the names of budgets.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Spend => "spend",
            Self::Calls => "calls",
            Self::BytesUp => "bytes-up",
            Self::BytesDown => "bytes-down",
            Self::Tokens => "tokens",
        }
    }
}

/// What may be used of one measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Of what.
    pub measure: Measure,
    /// The smallest unit, as receipts name it.
    pub unit: Arc<str>,
    /// The most of one call.
    pub call: Option<u64>,
    /// The most of each period.
    pub periods: Vec<(Period, u64)>,
}

/// A limit as it holds for one agent.
#[derive(Debug)]
pub struct Bound {
    /// The limit.
    pub limit: Arc<Limit>,
    /// What is counted together has the same scope: `claude`, `coding` or `coding/claude`.
    pub scope: Arc<str>,
    /// Its budgets by period.
    pub counts: Vec<Count>,
    /// Where what a day costs is added up, if a human is asked above some of it.
    pub asked: Option<Arc<str>>,
}

/// One budget over one period.
#[derive(Debug)]
pub struct Count {
    /// The name of the budget in the ledger, such as `claude/spend/day`.
    pub name: Arc<str>,
    /// What it counts.
    pub measure: Measure,
    /// The unit.
    pub unit: Arc<str>,
    /// Over what time.
    pub period: Period,
    /// The most of it.
    pub most: u64,
}

impl Limits {
    fn new<'a>(
        all: Vec<Arc<Limit>>,
        agents: impl Iterator<Item = (&'a AgentId, &'a [String])>,
    ) -> Self {
        let mut by_agent = HashMap::new();
        for (agent, groups) in agents {
            by_agent.insert(agent.clone(), bounds(&all, agent, groups));
        }
        Self { all, by_agent }
    }

    /// Every limit, in the order of the files.
    pub fn all(&self) -> &[Arc<Limit>] {
        &self.all
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Every agent that has limits, with them.
    pub fn agents(&self) -> impl Iterator<Item = (&AgentId, &[Arc<Bound>])> {
        self.by_agent
            .iter()
            .map(|(agent, bounds)| (agent, &**bounds))
    }

    /// The limits of an agent. One that nobody declared has those of everyone.
    pub fn of(&self, agent: &AgentId) -> Cow<'_, [Arc<Bound>]> {
        match self.by_agent.get(agent) {
            Some(bounds) => Cow::Borrowed(bounds),
            None => Cow::Owned(bounds(&self.all, agent, &[])),
        }
    }
}

impl Limit {
    /// Whether calls of a tool fall under it.
    pub fn covers(&self, tool: &Tool) -> bool {
        self.covers_name(tool.name.as_str(), tool.category.as_str())
    }

    /// Whether calls of something with this name and category fall under it.
    pub fn covers_name(&self, name: &str, category: &str) -> bool {
        let named = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == pattern,
        };
        (self.tools.is_empty() || self.tools.iter().any(named))
            && (self.categories.is_empty() || self.categories.iter().any(|one| one == category))
    }

    /// What there is of a measure.
    pub fn budget(&self, measure: Measure) -> Option<&Budget> {
        self.budgets.iter().find(|budget| budget.measure == measure)
    }

    /// Whether it can end while a call is open, without anything being used.
    pub fn is_timed(&self) -> bool {
        !self.hours.is_always() || self.session.is_some() || self.human == Human::Present
    }

    fn is_about(&self, agent: &AgentId, groups: &[String]) -> bool {
        self.who.iter().any(|who| match who {
            Who::Everyone => true,
            Who::Agent(one) => one == agent,
            Who::Group(group) => groups.contains(group),
        })
    }
}

fn bounds(all: &[Arc<Limit>], agent: &AgentId, groups: &[String]) -> Vec<Arc<Bound>> {
    let about = all.iter().filter(|limit| limit.is_about(agent, groups));
    about.map(|limit| Arc::new(bound(limit, agent))).collect()
}

fn bound(limit: &Arc<Limit>, agent: &AgentId) -> Bound {
    let name = &*limit.name;
    let scope = match limit.share {
        Share::Each if agent.as_str() != name => format!("{name}/{agent}"),
        Share::Each | Share::Together => name.to_owned(),
    };
    let mut counts = Vec::new();
    for budget in &limit.budgets {
        for (period, most) in &budget.periods {
            counts.push(Count {
                name: format!("{scope}/{}/{period}", budget.measure.name()).into(),
                measure: budget.measure,
                unit: Arc::clone(&budget.unit),
                period: *period,
                most: *most,
            });
        }
    }
    let asked = limit.ask_above.day.is_some();
    Bound {
        limit: Arc::clone(limit),
        asked: asked.then(|| format!("{scope}/asked/day").into()),
        scope: scope.into(),
        counts,
    }
}
