//! `exeat check`: configuration, tools and rules in one report.

use exeat_policy::{Policy, Sources, Tool, World};
use exeat_types::{Clock as _, Report, SystemClock};
use serde_json::json;

use super::Place;
use crate::{
    settings::{Settings, read_sources},
    ui::{self, Ending, Output},
};

pub(super) fn check(place: &Place) -> anyhow::Result<Ending> {
    match load(place) {
        Ok((settings, policy)) => {
            let tools = policy.tools().count();
            let mut warnings = settings.network.warnings();
            warnings.extend(policy.tools().filter_map(missing));
            let facts = json!({
                "ok": true,
                "problems": [],
                "listeners": settings.listeners.len(),
                "agents": settings.agents.len(),
                "credentials": settings.credentials.len(),
                "tools": tools,
                "policy": policy.digest(),
                "warnings": warnings,
            });
            if place.output == Output::Text {
                for warning in &warnings {
                    ui::say(format_args!("warning: {warning}"));
                }
            }
            place.print(&facts, || {
                let counts = [
                    (settings.listeners.len(), "listeners"),
                    (settings.agents.len(), "agents"),
                    (settings.credentials.len(), "credentials"),
                    (tools, "tools"),
                ];
                let counts: Vec<String> = counts
                    .iter()
                    .map(|(count, what)| format!("{count} {what}"))
                    .collect();
                let verdict = ui::Paint::on_stdout().green("ok");
                format!(
                    "{verdict}: {}; policy {}",
                    counts.join(", "),
                    policy.digest()
                )
            })?;
            Ok(Ending::Done)
        }
        Err(error) => match error.downcast_ref::<Report>() {
            Some(report) if place.output == Output::Json => {
                ui::json(&json!({ "ok": false, "problems": report.problems() }))?;
                Ok(Ending::Refused)
            }
            _ => Err(error),
        },
    }
}

/// What is to be said of a tool whose program is not there.
fn missing(tool: &Tool) -> Option<String> {
    let program = tool.runs().filter(|program| !program.is_file())?;
    let (name, program) = (&tool.name, program.display());
    Some(format!("`{name}` runs `{program}`, which is not there"))
}

/// Settings and the policy they name. Problems of both are told at once where both can be read.
pub(super) fn load(place: &Place) -> anyhow::Result<(Settings, Policy)> {
    let settings = place.settings()?;
    let policy = policy_of(&settings)?;
    Ok((settings, policy))
}

pub(super) fn policy_of(settings: &Settings) -> Result<Policy, Report> {
    let sources = read_sources(&settings.policy)?;
    compile(&sources, &settings.world())
}

/// What is in force now: rules that are over let nothing through.
pub(super) fn compile(sources: &Sources, world: &World) -> Result<Policy, Report> {
    Policy::compile_at(SystemClock::new().now(), sources, world)
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::PermissionsExt as _,
        path::{Path, PathBuf},
    };

    use super::*;

    #[track_caller]
    fn loads(folder: &Path) {
        let settings = Settings::load(&folder.join("exeat.toml"))
            .map_err(|report| report.to_string())
            .unwrap();
        let policy = policy_of(&settings)
            .map_err(|report| report.to_string())
            .unwrap();
        assert!(policy.tools().count() > 0);
    }

    /// Copies a folder with modes of its own, as those of a clone depend on who made it.
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let (from, to) = (
                entry.as_ref().unwrap().path(),
                to.join(entry.unwrap().file_name()),
            );
            if from.is_dir() {
                copy(&from, &to);
            } else {
                std::fs::copy(&from, &to).unwrap();
                std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o644)).unwrap();
            }
        }
    }

    #[test]
    fn the_examples_and_what_init_writes_are_valid() {
        let place = tempfile::tempdir().unwrap();
        let examples = place.path().join("configs");
        copy(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs"),
            &examples,
        );
        loads(&examples);
        let written: PathBuf = place.path().join("new");
        super::super::init::write(&written).unwrap();
        loads(&written);
    }
}
