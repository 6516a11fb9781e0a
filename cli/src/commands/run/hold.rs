//! How a command is held: as the rules say, observed, or strictly. Observing is never a default: somebody says so, in
//! this run.

use std::ffi::OsStr;

use anyhow::Context as _;
use exeat_types::{AgentId, Report, Source, config::Document};

use crate::{
    args::Run,
    commands::{Place, doctor},
    presets,
    settings::Settings,
    socket::Hold,
    ui,
};

/// What the rules say so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    /// There are no rules.
    Nothing,
    /// There are only rules that presets brought.
    Presets,
    /// The operator has written rules.
    Rules,
}

impl Spoken {
    /// Reads the names of the rules. A file with problems counts as rules: what is wrong with it is told later.
    pub(super) fn of(settings: &Settings) -> Self {
        let cedar = std::fs::read_dir(&settings.policy.tools)
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| entry.path().extension().is_some_and(|end| end == "cedar"));
        match std::fs::read_to_string(&settings.policy.file) {
            _ if cedar => Self::Rules,
            Ok(text) => Self::of_text(&text),
            Err(problem) if problem.kind() == std::io::ErrorKind::NotFound => Self::Nothing,
            Err(_) => Self::Rules,
        }
    }

    fn of_text(text: &str) -> Self {
        let mut report = Report::new();
        let source = Source::new("policy.toml", text);
        let document = Document::parse(&source, &mut report);
        let rules = document.root().get("rule");
        let rules = rules
            .map(|item| item.items(&mut report))
            .unwrap_or_default();
        let mut spoken = Self::Nothing;
        for rule in rules {
            let name = rule
                .table(&mut report)
                .and_then(|table| table.get("name")?.text(&mut report));
            spoken = match name {
                Some(name) if presets::wrote_rule(name) => Self::Presets,
                _ => return Self::Rules,
            };
        }
        if report.is_empty() {
            spoken
        } else {
            Self::Rules
        }
    }
}

/// Decides, asking if somebody can be asked; nothing when an answer is needed and nobody is there to give it.
pub(super) fn choose(order: &Run, spoken: Spoken) -> anyhow::Result<Option<Hold>> {
    if order.hold.strict {
        return Ok(Some(Hold::Strict));
    }
    if order.hold.observe {
        return Ok(Some(Hold::Observed));
    }
    if spoken == Spoken::Rules {
        return Ok(Some(Hold::Declared));
    }
    if ui::can_ask() {
        return ask().map(Some);
    }
    if spoken == Spoken::Presets || order.keys.yes {
        return Ok(Some(Hold::Declared));
    }
    ui::say(format_args!(
        "{}: there are no rules yet, and nobody to ask",
        ui::Paint::on_stderr().red("error")
    ));
    let program = order.command.join(OsStr::new(" "));
    let program = program.to_string_lossy();
    for (what, meaning) in WAYS {
        let what = what.replace("COMMAND", &program);
        ui::say(format_args!(" = help: {what}\n         {meaning}"));
    }
    Ok(None)
}

/// Whether every check of `exeat doctor` is closed; says which are not.
pub(super) fn is_tight(
    place: &Place,
    settings: &Settings,
    agent: &AgentId,
    order: &Run,
) -> anyhow::Result<bool> {
    let open = doctor::open_checks(place, settings, agent, order)?;
    for check in &open {
        ui::say(format_args!("open: {}: {}", check.id, check.detail));
    }
    if !open.is_empty() {
        ui::say(format_args!(
            "{}: a strict run does not start while a check is open; `exeat doctor` says what to do",
            ui::Paint::on_stderr().red("error")
        ));
    }
    Ok(open.is_empty())
}

/// What can be typed instead of an answer.
const WAYS: [(&str, &str); 4] = [
    (
        "exeat run --observe -- COMMAND",
        "lets through and records what needs no credential, for 7 days",
    ),
    (
        "exeat run --strict -- COMMAND",
        "refuses what no rule allows",
    ),
    (
        "exeat run --yes -- COMMAND",
        "takes keys of the environment into custody, and allows what their presets say",
    ),
    ("exeat init", "writes a configuration to begin with"),
];

const QUESTION: &str = "\
There are no rules of yours yet. What becomes of requests that no rule allows?
  o  observe: what needs no credential passes and is recorded, for 7 days
  s  strict: they are refused";

fn ask() -> anyhow::Result<Hold> {
    ui::say(QUESTION);
    loop {
        let answer = ui::ask("observe or strict? [o/s] ").context("nobody answered")?;
        match answer.to_ascii_lowercase().as_str() {
            "o" | "observe" => return Ok(Hold::Observed),
            "s" | "strict" => return Ok(Hold::Strict),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Spoken) {
        assert_eq!(Spoken::of_text(text), expect, "{text}");
    }

    #[test]
    fn rules_of_presets_are_not_the_operators() {
        let rule = |name: &str| format!("[[rule]]\nname = \"{name}\"\neffect = \"allow\"\n");
        check("# nothing\n", Spoken::Nothing);
        check(&rule("preset github for claude"), Spoken::Presets);
        let both = rule("preset github for claude") + &rule("read");
        check(&both, Spoken::Rules);
        check(&rule("read"), Spoken::Rules);
        check("[[rule]]\n", Spoken::Rules);
        check("not toml at all", Spoken::Rules);
    }
}
