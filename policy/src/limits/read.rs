//! Reading `[limits.NAME]`: each problem at its place, and nothing that is not understood.

mod amounts;

use std::{collections::BTreeSet, ops::Range, sync::Arc, time::Duration};

use exeat_types::{
    AgentId, Host, Money, Report, Source,
    config::{Document, Item, Table},
    did_you_mean,
};
use jiff::tz::TimeZone;

use super::{
    AskAbove, FirstUse, Hours, Human, Limit, Limits, Measure, Rate, Share, hours::zone_named,
    period::duration,
};
use crate::{
    Approve, World,
    cache::Tools,
    rules::{self, Reader, Who},
};

/// The longest session, and the longest time that a budget rolls over.
const TIME_MAX: Duration = Duration::from_secs(31 * 86_400);
/// Most calls of a rate, and most at a time.
const CALLS_MAX: u64 = 1_000_000;
/// Without a word on it, this part of a rate may come at once.
const BURST_PART: u32 = 10;

/// Reads the limits in every file of rules. What else is in the files, and whether they are TOML, is for `rules.rs`.
pub(crate) fn read(
    sources: &[Source],
    world: &World,
    tools: &Tools,
    report: &mut Report,
) -> Limits {
    let groups = rules::known_groups(world);
    let mut all: Vec<Arc<Limit>> = Vec::new();
    for source in sources
        .iter()
        .filter(|source| source.text.contains("limits"))
    {
        let mut twice = Report::new();
        let document = Document::parse(source, &mut twice);
        let mut entries = document
            .root()
            .get("limits")
            .and_then(|item| item.table(report))
            .map(|table| table.entries())
            .unwrap_or_default();
        entries.sort_unstable_by_key(|(_, at, _)| at.start);
        for (name, at, item) in entries {
            if all.iter().any(|limit| &*limit.name == name) {
                report.at(source, at, format!("a second limit `{name}`"));
                continue;
            }
            let reading = Reading {
                rules: Reader::new(world, tools, &groups),
                world,
                tools,
            };
            all.extend(reading.limit((name, at), item, report).map(Arc::new));
        }
    }
    let agents = world.agents.iter();
    Limits::new(all, agents.map(|(agent, groups)| (agent, &**groups)))
}

struct Reading<'r> {
    rules: Reader<'r>,
    world: &'r World,
    tools: &'r Tools,
}

/// What a preset says where the limit does not.
#[derive(Clone, Copy)]
struct Preset {
    rate: Rate,
    human: Human,
    ask_above: u64,
    session: Duration,
}

const MINUTE: Duration = Duration::from_secs(60);
const RESTRICTIVE: Preset = Preset {
    rate: Rate {
        count: 30,
        per: MINUTE,
        burst: 5,
    },
    human: Human::Present,
    ask_above: 100_000_000,
    session: Duration::from_secs(3600),
};
const PERMISSIVE: Preset = Preset {
    rate: Rate {
        count: 600,
        per: MINUTE,
        burst: 60,
    },
    human: Human::Elsewhere,
    ask_above: 0,
    session: Duration::from_secs(86_400),
};
const PRESETS: [(&str, Preset); 2] = [("restrictive", RESTRICTIVE), ("permissive", PERMISSIVE)];
const SHARES: [(&str, Share); 2] = [("each", Share::Each), ("together", Share::Together)];
const FIRST_USES: [(&str, FirstUse); 3] = [
    ("allow", FirstUse::Allow),
    ("prompt", FirstUse::Prompt),
    ("deny", FirstUse::Deny),
];

impl Preset {
    fn ask_above(self) -> AskAbove {
        let money = Money::new(self.ask_above, "USD").ok();
        AskAbove {
            call: money.filter(|money| money.amount > 0),
            day: None,
        }
    }
}

impl Reading<'_> {
    fn limit(
        &self,
        (name, at): (&str, Range<usize>),
        item: Item<'_>,
        report: &mut Report,
    ) -> Option<Limit> {
        let table = item.table(report)?;
        if let Err(problem) = AgentId::new(name) {
            let problem = problem.problem;
            report.at(
                item.source(),
                at.clone(),
                format!("a name of limits: {problem}"),
            );
        }
        let who = self.whom(name, at, &table, report);
        let tools = table.get("tools");
        let tools = tools.map(|item| self.rules.read_tools(item, report));
        let categories = table.get("category");
        let categories = categories.map(|item| self.rules.read_categories(item, report));
        let word = |word: String| word.strip_prefix("category:").map(str::to_owned);
        let preset = table
            .get("preset")
            .and_then(|item| item.word(report, &PRESETS));
        let zone = zone(&table, report);
        let rate = rate(&table, preset, report);
        let concurrency = table
            .get("concurrency")
            .and_then(|item| count_up_to(item, report));
        let session = table.get("session").and_then(|item| session(item, report));
        let human = table.get("human-present");
        let human = human
            .and_then(|item| item.flag(report))
            .map(|flag| match flag {
                true => Human::Present,
                false => Human::Elsewhere,
            });
        let before = preset.map(Preset::ask_above).unwrap_or_default();
        let ask_above = table
            .get("ask-above")
            .map(|item| ask_above(item, &before, report));
        let share = table
            .get("share")
            .and_then(|item| item.word(report, &SHARES));
        let first_use = table.get("first-use-of-host");
        let first_use = first_use.and_then(|item| item.word(report, &FIRST_USES));
        let approve = table.get("approve").and_then(|item| item.table(report));
        let approve = approve.map(|table| rules::read_approve(&table, report));
        let limit = Limit {
            name: name.into(),
            who,
            tools: tools.unwrap_or_default(),
            categories: categories
                .unwrap_or_default()
                .into_iter()
                .filter_map(word)
                .collect(),
            share: share.unwrap_or_default(),
            rate,
            concurrency,
            hours: hours(&table, &zone, report),
            session: session.or(preset.map(|preset| preset.session)),
            human: human
                .or(preset.map(|preset| preset.human))
                .unwrap_or_default(),
            ask_above: ask_above.unwrap_or(before),
            first_use: first_use.unwrap_or_default(),
            known_hosts: known_hosts(&table, report),
            approve: approve.unwrap_or(Approve::STRICTEST),
            budgets: amounts::budgets(&table, report),
            zone,
        };
        table.finish(report);
        self.check_currency(&limit, &item, report);
        Some(limit)
    }

    /// The agents named, or the one that the limit is named after.
    fn whom(
        &self,
        name: &str,
        at: Range<usize>,
        table: &Table<'_>,
        report: &mut Report,
    ) -> Vec<Who> {
        if let Some(item) = table.get("agents") {
            return self.rules.read_agents(item, report);
        }
        let known = self.world.agents.keys();
        if let Some(agent) = known.clone().find(|agent| agent.as_str() == name) {
            return vec![Who::Agent(agent.clone())];
        }
        let near = did_you_mean(name, known.map(AgentId::as_str));
        let message = format!("no agent is named `{name}`, and no `agents` are named");
        let problem = report.at(table.source(), at, message);
        match near {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem.help("say whom it is about: `agents = [\"*\"]`"),
        };
        Vec::new()
    }

    /// What costs money has to cost the money that is counted: nothing here changes one into another.
    fn check_currency(&self, limit: &Limit, item: &Item<'_>, report: &mut Report) {
        let ask = limit.ask_above.call.iter().chain(&limit.ask_above.day);
        let spend = limit
            .budget(Measure::Spend)
            .map(|spend| spend.unit.to_string());
        let counted: BTreeSet<String> = ask.map(Money::unit).chain(spend).collect();
        for tool in self.tools.list.iter().filter(|tool| limit.covers(tool)) {
            let Some(cost) = &tool.cost else { continue };
            let costs = cost.currency();
            for unit in counted.iter().filter(|unit| **unit != cost.unit()) {
                let counts = unit.trim_end_matches("-6");
                let message = format!(
                    "the limit counts {counts}, but `{}` costs {costs}",
                    tool.name
                );
                let problem = item.problem(report, message);
                problem.help("give its tools a cost in this currency, or narrow `tools`");
            }
        }
    }
}

fn zone(table: &Table<'_>, report: &mut Report) -> TimeZone {
    let Some(item) = table.get("zone") else {
        return TimeZone::UTC;
    };
    match item.text(report).map(zone_named) {
        Some(Ok(zone)) => return zone,
        Some(Err(problem)) => {
            item.problem(report, problem);
        }
        None => {}
    }
    TimeZone::UTC
}

fn rate(table: &Table<'_>, preset: Option<Preset>, report: &mut Report) -> Option<Rate> {
    let requests = table.get("requests").and_then(|item| {
        let text = item.text(report)?;
        let found = rate_of(text);
        if found.is_none() {
            let problem = item.problem(report, "expected a rate such as `600/min`");
            problem.help("a number of calls behind which stands `/s`, `/min` or `/h`");
        }
        found
    });
    let rate = requests.or(preset.map(|preset| preset.rate));
    let Some(item) = table.get("burst") else {
        return rate;
    };
    let burst = count_up_to(item, report)?;
    let Some(mut rate) = rate else {
        item.problem(report, "`burst` belongs to `requests`");
        return None;
    };
    if burst > rate.count {
        let message = format!("at most the {} of `requests` can come at once", rate.count);
        item.problem(report, message);
    }
    rate.burst = burst;
    Some(rate)
}

fn rate_of(text: &str) -> Option<Rate> {
    let (count, per) = text.split_once('/')?;
    let per = match per {
        "s" => 1,
        "min" | "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    let digits = count.bytes().all(|byte| byte.is_ascii_digit());
    let count: u32 = count.parse().ok().filter(|_| digits)?;
    let most = u32::try_from(CALLS_MAX).ok()?;
    (1..=most).contains(&count).then(|| Rate {
        count,
        per: Duration::from_secs(per),
        burst: (count / BURST_PART).max(1),
    })
}

fn count_up_to(item: Item<'_>, report: &mut Report) -> Option<u32> {
    let count = item.count(report)?;
    if !(1..=CALLS_MAX).contains(&count) {
        item.problem(
            report,
            format!("expected a number between 1 and {CALLS_MAX}"),
        );
        return None;
    }
    u32::try_from(count).ok()
}

fn session(item: Item<'_>, report: &mut Report) -> Option<Duration> {
    let text = item.text(report)?;
    let found = duration(text).filter(|time| *time <= TIME_MAX);
    if found.is_none() {
        let problem = item.problem(report, "expected a time such as `1h`, of at most `31d`");
        problem.help("a number behind which stands `s`, `m`, `h` or `d`");
    }
    found
}

/// One text, or a list of them.
fn hours(table: &Table<'_>, zone: &TimeZone, report: &mut Report) -> Hours {
    let mut hours = Hours::default();
    let Some(item) = table.get("hours") else {
        return hours;
    };
    let items = match item.is_list() {
        true => item.items(report),
        false => vec![item],
    };
    for item in items {
        let Some(text) = item.text(report) else {
            continue;
        };
        if let Err(problem) = hours.add(text, zone) {
            item.problem(report, problem);
        }
    }
    hours
}

fn known_hosts(table: &Table<'_>, report: &mut Report) -> Vec<Host> {
    let Some(item) = table.get("known-hosts") else {
        return Vec::new();
    };
    let items = item.items(report);
    let host = |item: Item<'_>| {
        let text = item.text(report)?;
        match Host::parse(text) {
            Ok(host) => Some(host),
            Err(problem) => {
                item.problem(report, problem.to_string());
                None
            }
        }
    };
    items.into_iter().filter_map(host).collect()
}

/// `"100 USD"` of a call, or `{ call = "100 USD", day = "500 USD" }`. What is not said stays as it was.
fn ask_above(item: Item<'_>, before: &AskAbove, report: &mut Report) -> AskAbove {
    if !item.is_table() {
        return AskAbove {
            call: item.parse(report),
            day: before.day.clone(),
        };
    }
    let Some(table) = item.table(report) else {
        return before.clone();
    };
    let mut amount = |key: &'static str, before: &Option<Money>| match table.get(key) {
        Some(item) => item.parse(report),
        None => before.clone(),
    };
    let (call, day) = (amount("call", &before.call), amount("day", &before.day));
    table.finish(report);
    if let (Some(call), Some(day)) = (&call, &day)
        && call.currency() != day.currency()
    {
        item.problem(report, "both amounts have to be of one currency");
    }
    AskAbove { call, day }
}
