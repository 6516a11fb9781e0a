//! Two policies that are compared: each a folder, a configuration, a file of rules, or what the running gate has in force.

use std::path::Path;

use anyhow::Context as _;
use exeat_policy::{Policy, Sources, World};
use exeat_types::{Report, Source, config::Document};

use super::{Place, check};
use crate::{
    settings::Settings,
    socket::{PolicyTexts, Request},
};

/// The word for the policy of the running gate.
pub(super) const IN_FORCE: &str = "in-force";

/// The tables of a file of rules.
const RULES: [&str; 3] = ["limits", "risk", "rule"];

/// Reads one side.
///
/// # Errors
/// When no gate runs, or the files do not compile; every problem of them.
pub(super) fn read(place: &Place, named: &str) -> anyhow::Result<Policy> {
    if named == IN_FORCE {
        let texts: PolicyTexts = place.running_gate()?.one(&Request::PolicySources {}, &[])?;
        return of_texts(&texts);
    }
    let path = Path::new(named);
    if path.is_dir() {
        let settings = Settings::load(&path.join("exeat.toml"))?;
        return Ok(check::policy_of(&settings)?);
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{named}`"))?;
    let settings = match is_rules(named, &text) {
        // The tools and agents around them are those of the configuration.
        true => place.settings()?.with_rules(Some(path.to_path_buf())),
        false => Settings::load(path)?,
    };
    Ok(check::policy_of(&settings)?)
}

/// Whether a file has nothing but what stands in a file of rules.
fn is_rules(name: &str, text: &str) -> bool {
    let source = Source::new(name, text);
    let mut report = Report::new();
    let document = Document::parse(&source, &mut report);
    let entries = document.root().entries();
    let mut keys = entries.iter().map(|(key, ..)| *key);
    report.is_empty() && keys.all(|key| RULES.contains(&key))
}

fn of_texts(texts: &PolicyTexts) -> anyhow::Result<Policy> {
    let sources = |pairs: &[(String, String)]| {
        let one = |(name, text): &(String, String)| Source::new(name, text);
        pairs.iter().map(one).collect()
    };
    let sources = Sources {
        tools: sources(&texts.tools),
        policy: sources(&texts.policy),
        cedar: sources(&texts.cedar),
    };
    let world = World {
        agents: texts.agents.clone(),
        credentials: texts.credentials.clone(),
    };
    Ok(check::compile(&sources, &world)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_rules_is_told_by_what_is_in_it() {
        for rules in [
            "",
            "# none",
            "[[ rule ]] # one\nname = \"a\"",
            "rule = []",
            "[limits.a]",
            "[risk]",
        ] {
            assert!(is_rules("a", rules), "{rules}");
        }
        let text = "[policy]\nfile = \"\"\"\n[[rule]]\n\"\"\"";
        for other in [text, "[agents.claude]", "[["] {
            assert!(!is_rules("a", other), "{other}");
        }
    }
}
