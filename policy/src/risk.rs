//! `[risk]` in `policy.toml`: what each signal weighs, and the scores at which somebody is asked.
//!
//! INVARIANT: advice tightens. [`RiskRules::asks`] adds what a human has to agree to; nothing in here takes anything away.

use exeat_types::{
    Origin, Report, Source,
    config::{Document, Item, Table},
    did_you_mean, parse_bytes,
};

use crate::{Approve, Approver, Category, Remember};

/// The highest score there is.
pub const SCORE_MAX: u32 = 100;
/// More people than this never have to approve.
const APPROVERS_MAX: u32 = 16;
/// A body of this many bytes is large, unless `large-body` says otherwise.
const LARGE_BODY_BYTES: u64 = 1024 * 1024;
/// Categories that cannot be taken back, unless `destructive` says otherwise.
const DESTRUCTIVE: [&str; 3] = ["delete", "transact", "admin"];
/// Origins that may be named as trusted.
const TRUSTED_MAX: usize = 1024;

/// Something that speaks against a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// The agent has not called this tool before.
    NewTool,
    /// The agent has not called this host before.
    NewHost,
    /// The agent is not up at this hour of the week.
    UnusualHour,
    /// The agent has done far more in this hour than in its other ones.
    VolumeSpike,
    /// The body is large, or nobody knows how large.
    LargeBody,
    /// What is done cannot be taken back.
    Destructive,
    /// The run has read what nobody vouches for.
    UntrustedContent,
    /// In this run a placeholder was used outside its slot.
    PlaceholderAlarm,
}

impl Signal {
    /// Every signal.
    pub const ALL: [Self; 8] = [
        Self::NewTool,
        Self::NewHost,
        Self::UnusualHour,
        Self::VolumeSpike,
        Self::LargeBody,
        Self::Destructive,
        Self::UntrustedContent,
        Self::PlaceholderAlarm,
    ];

    /// The word used in `weights` and in receipts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NewTool => "new-tool",
            Self::NewHost => "new-host",
            Self::UnusualHour => "unusual-hour",
            Self::VolumeSpike => "volume-spike",
            Self::LargeBody => "large-body",
            Self::Destructive => "destructive",
            Self::UntrustedContent => "untrusted-content",
            Self::PlaceholderAlarm => "placeholder-alarm",
        }
    }

    /// The signal of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|signal| signal.name() == name)
    }

    /// What it says, for whoever is asked to approve.
    pub const fn words(self) -> &'static str {
        match self {
            Self::NewTool => "this agent has not called this tool before",
            Self::NewHost => "this agent has not called this host before",
            Self::UnusualHour => "this agent is not usually active at this hour of the week",
            Self::VolumeSpike => "this agent is doing far more than in its other hours",
            Self::LargeBody => "the body is large, or nobody knows how large",
            Self::Destructive => "what is done cannot be taken back",
            Self::UntrustedContent => "this run has read content that nobody vouches for",
            Self::PlaceholderAlarm => "in this run a placeholder was used outside its slot",
        }
    }

    const fn weight(self) -> u32 {
        match self {
            Self::NewTool | Self::UnusualHour => 15,
            Self::LargeBody => 10,
            Self::NewHost | Self::VolumeSpike | Self::Destructive => 25,
            Self::UntrustedContent => 30,
            Self::PlaceholderAlarm => 40,
        }
    }
}

/// What the operator says of risk. Without a `[risk]` table signals are weighed and recorded, and nobody is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RiskRules {
    /// In the order of [`Signal::ALL`].
    weights: [u32; 8],
    prompt_at: Option<u32>,
    passkey_at: Option<u32>,
    second_at: Option<u32>,
    /// Origins whose content is vouched for; every origin when nobody wrote a `[risk]` table.
    trusted: Option<Vec<Origin>>,
    destructive: Vec<Category>,
    large_body_bytes: u64,
}

impl Default for RiskRules {
    fn default() -> Self {
        Self {
            weights: Signal::ALL.map(Signal::weight),
            prompt_at: None,
            passkey_at: None,
            second_at: None,
            trusted: None,
            destructive: DESTRUCTIVE
                .iter()
                .filter_map(|word| Category::new(word).ok())
                .collect(),
            large_body_bytes: LARGE_BODY_BYTES,
        }
    }
}

impl RiskRules {
    /// What a signal adds to the score.
    pub fn weight(&self, signal: Signal) -> u32 {
        let weights = Signal::ALL.iter().zip(self.weights);
        let mut of = weights.filter(|(known, _)| **known == signal);
        // Fails closed: a signal without a weight weighs as much as there is.
        of.next().map_or(SCORE_MAX, |(_, weight)| weight)
    }

    /// Whether a body of so many bytes is large; `None` is one whose length nobody knows.
    pub fn is_large(&self, bytes: Option<u64>) -> bool {
        bytes.is_none_or(|bytes| bytes >= self.large_body_bytes)
    }

    /// Whether calls of this category cannot be taken back.
    pub fn is_destructive(&self, category: &Category) -> bool {
        self.destructive.contains(category)
    }

    /// Whether content of this origin is vouched for.
    pub fn trusts(&self, origin: &Origin) -> bool {
        let trusted = self.trusted.as_ref();
        trusted.is_none_or(|trusted| trusted.contains(origin))
    }

    /// What a human has to agree to at this score, besides what others ask for. `others` is that: one person more than
    /// they want is asked at the highest threshold.
    pub fn asks(&self, score: u32, others: Option<Approve>) -> Option<Approve> {
        let reached = |threshold: Option<u32>| threshold.is_some_and(|at| score >= at);
        let approve = |by, approvers| {
            Some(Approve {
                devices: 1,
                within: None,
                by,
                remember: Remember::Once,
                approvers,
            })
        };
        if reached(self.second_at) {
            let wanted = others.map_or(1, |others| others.approvers);
            return approve(
                Approver::Passkey,
                wanted.saturating_add(1).min(APPROVERS_MAX),
            );
        }
        if reached(self.passkey_at) {
            return approve(Approver::Passkey, 1);
        }
        match reached(self.prompt_at) {
            true => approve(Approver::Local, 1),
            false => None,
        }
    }
}

/// Reads `[risk]` out of the files of rules; at most one has it.
pub(crate) fn read(sources: &[Source], report: &mut Report) -> RiskRules {
    let mut found: Option<RiskRules> = None;
    for source in sources.iter().filter(|source| source.text.contains("risk")) {
        // What is wrong with the file as a whole is reported where its rules are read.
        let mut elsewhere = Report::new();
        let document = Document::parse(source, &mut elsewhere);
        let Some(item) = document.root().get("risk") else {
            continue;
        };
        if found.is_some() {
            item.problem(report, "a second `[risk]`");
        }
        if let Some(table) = item.table(report) {
            found = Some(read_table(&table, report));
        }
    }
    found.unwrap_or_default()
}

fn read_table(table: &Table<'_>, report: &mut Report) -> RiskRules {
    let mut rules = RiskRules::default();
    let mut threshold = |key| {
        let item = table.get(key)?;
        Some((score(item, 1, report)?, item))
    };
    let thresholds = [
        threshold("prompt-at"),
        threshold("passkey-at"),
        threshold("second-at"),
    ];
    let mut below = 0;
    for (at, item) in thresholds.iter().flatten() {
        if *at < below {
            let problem = item.problem(report, "a stronger approval is asked for at a lower score");
            problem.help("`prompt-at` comes first, then `passkey-at`, then `second-at`");
        }
        below = below.max(*at);
    }
    let [prompt, passkey, second] = thresholds.map(|found| found.map(|(at, _)| at));
    (rules.prompt_at, rules.passkey_at, rules.second_at) = (prompt, passkey, second);
    let trusted = table.get("trusted").map(|item| {
        let items = item.items(report);
        if items.len() > TRUSTED_MAX {
            item.problem(report, "more origins than can be trusted");
        }
        let origins = items.iter().take(TRUSTED_MAX);
        origins.filter_map(|item| item.parse(report)).collect()
    });
    rules.trusted = Some(trusted.unwrap_or_default());
    if let Some(item) = table.get("destructive") {
        let items = item.items(report);
        rules.destructive = items.iter().filter_map(|item| item.parse(report)).collect();
    }
    if let Some(item) = table.get("large-body")
        && let Some(text) = item.text(report)
    {
        match parse_bytes(text) {
            Ok(bytes) => rules.large_body_bytes = bytes,
            Err(problem) => drop(item.problem(report, problem.to_string())),
        }
    }
    if let Some(weights) = table.get("weights").and_then(|item| item.table(report)) {
        read_weights(&weights, &mut rules, report);
    }
    table.finish(report);
    rules
}

fn read_weights(table: &Table<'_>, rules: &mut RiskRules, report: &mut Report) {
    for (name, at, item) in table.entries() {
        let Some(signal) = Signal::from_name(name) else {
            let problem = report.at(table.source(), at, format!("no signal is named `{name}`"));
            match did_you_mean(name, Signal::ALL.map(Signal::name)) {
                Some(near) => problem.help(format!("did you mean `{near}`?")),
                None => problem.help(format!(
                    "signals: {}",
                    Signal::ALL.map(Signal::name).join(", ")
                )),
            };
            continue;
        };
        let Some(weight) = score(item, 0, report) else {
            continue;
        };
        let slot = Signal::ALL.iter().position(|known| *known == signal);
        if let Some(slot) = slot.and_then(|slot| rules.weights.get_mut(slot)) {
            *slot = weight;
        }
    }
}

fn score(item: Item<'_>, least: u32, report: &mut Report) -> Option<u32> {
    let count = item.count(report)?;
    let score = u32::try_from(count).ok();
    let score = score.filter(|score| (least..=SCORE_MAX).contains(score));
    if score.is_none() {
        item.problem(
            report,
            format!("expected a number between {least} and {SCORE_MAX}"),
        );
    }
    score
}

#[cfg(test)]
mod tests;
