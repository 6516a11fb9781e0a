//! A preset by itself: compiled as if it were all that is configured, and tried with its own cases.

use std::path::Path;

use exeat_policy::{
    Policy, Sources,
    cases::{self, Case},
};
use exeat_types::{Report, Source};

use super::{Form, Preset};
use crate::settings::Settings;

/// The agent that a preset is tried with.
const AGENT: &str = "agent";

/// A preset in one of its forms, compiled.
pub(crate) struct Trial {
    /// Which form, such as `oauth`; the variable for a key that lies in one.
    pub(crate) form: &'static str,
    /// Its tools and rules.
    pub(crate) policy: Policy,
    /// What they should say.
    pub(crate) cases: Vec<Case>,
}

impl Preset {
    /// Compiles every form of the preset, each alone.
    ///
    /// # Errors
    /// When a text of it is not valid.
    pub(crate) fn trials(&self) -> Result<Vec<Trial>, Report> {
        let keys = self.keys.iter().map(|key| {
            let form = key.variables.first().copied().unwrap_or_default();
            self.trial(form, &[key.text], None)
        });
        // Another form of the same credential stands in its place; what tools need besides stays.
        let forms = self.forms.iter().map(|form| {
            let beside = self.keys.first().map(|key| key.text);
            let parts: Vec<&str> = [Some(form.text), beside.filter(|_| form.tools.is_none())]
                .into_iter()
                .flatten()
                .collect();
            self.trial(form.name, &parts, Some(form))
        });
        keys.chain(forms).collect()
    }

    fn trial(
        &self,
        name: &'static str,
        credentials: &[&str],
        form: Option<&Form>,
    ) -> Result<Trial, Report> {
        let fill = |text: &str| text.replace("AGENT", AGENT).replace("VARIABLE", name);
        let at = |file: &str| format!("presets/{}/{file}", self.name);
        let text = format!("[agents.{AGENT}]\n{}", fill(&once(credentials)));
        let file = Source::new(&at("exeat.toml"), &text);
        let settings = Settings::parse(Path::new(&*file.name), &file)?;
        let tools = form.and_then(|form| form.tools).unwrap_or(self.tools);
        let rules = form.and_then(|form| form.rules).unwrap_or(self.rules);
        let cases = form.and_then(|form| form.cases).unwrap_or(self.cases);
        let sources = Sources {
            tools: tools
                .iter()
                .map(|(file, text)| Source::new(&at(file), text))
                .collect(),
            policy: vec![Source::new(&at("policy.toml"), &fill(rules))],
            cedar: Vec::new(),
        };
        let policy = Policy::compile(&sources, &settings.world())?;
        let mut report = Report::new();
        let cases = cases::read(&[Source::new(&at("cases.toml"), &fill(cases))], &mut report);
        match report.is_empty() {
            true => Ok(Trial {
                form: name,
                policy,
                cases,
            }),
            false => Err(report),
        }
    }
}

/// The tables of some texts, each name once: the first text that has it wins.
fn once(texts: &[&str]) -> String {
    let mut out = String::new();
    let mut seen: Vec<&str> = Vec::new();
    for text in texts {
        let mut skipped = false;
        let before = seen.clone();
        for line in text.lines() {
            if line.starts_with("[credentials.") {
                skipped = before.contains(&line);
                seen.push(line);
            }
            if !skipped {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use exeat_policy::cases::Expect;
    use exeat_types::Reason;

    use super::*;
    use crate::presets::ALL;

    #[test]
    fn every_preset_does_what_its_cases_say() {
        for preset in &ALL {
            let trials = preset.trials();
            let trials = trials.unwrap_or_else(|report| panic!("{}:\n{report}", preset.name));
            assert!(!trials.is_empty(), "{}", preset.name);
            for trial in trials {
                for case in &trial.cases {
                    let result = cases::run(&trial.policy, case);
                    assert!(
                        result.passed,
                        "{} ({}): {result:?}",
                        preset.name, trial.form
                    );
                }
            }
        }
    }

    #[test]
    fn the_cases_of_every_preset_show_a_yes_a_no_wrong_arguments_and_what_is_unknown() {
        for preset in &ALL {
            for trial in preset.trials().unwrap() {
                let expected: BTreeSet<&str> =
                    trial.cases.iter().map(|case| case.expect.name()).collect();
                let unknown = Expect::Reason(Reason::ToolUnknown).name();
                let invalid = Expect::Reason(Reason::ArgumentsInvalid).name();
                for needed in ["allow", invalid, unknown] {
                    assert!(expected.contains(needed), "{}: {needed}", preset.name);
                }
                let deletes = trial
                    .policy
                    .tools()
                    .any(|tool| tool.category.as_str() == "delete");
                assert!(!deletes || expected.contains("deny"), "{}", preset.name);
            }
        }
    }

    #[test]
    fn no_credential_travels_to_a_path_that_nobody_named() {
        for preset in &ALL {
            for trial in preset.trials().unwrap() {
                let catches_all = |template: &str| template.starts_with("/{*");
                for tool in trial.policy.tools() {
                    let open = tool.credential.is_some() && catches_all(&tool.template);
                    assert!(!open, "{}", tool.name);
                }
            }
        }
    }
}
