//! `exeat policy test`: cases in TOML, each a request and what the rules should say to it.

use std::path::PathBuf;

use exeat_policy::cases::{self, CaseResult};
use exeat_types::{Report, Source};

use super::{Place, check};
use crate::{
    presets::{self, Preset},
    ui::{self, Ending, Output, Paint},
};

pub(super) fn test(place: &Place, files: &[PathBuf], presets: &[String]) -> anyhow::Result<Ending> {
    let results = match presets {
        [] => of_files(place, files)?,
        names => of_presets(names)?,
    };
    let failed = results.iter().filter(|result| !result.passed).count();
    for result in &results {
        place.print(result, || told(result))?;
    }
    if place.output == Output::Text {
        ui::say(format_args!("{} cases, {failed} failed", results.len()));
    }
    Ok(if failed == 0 {
        Ending::Done
    } else {
        Ending::Refused
    })
}

/// The operator's rules, with cases of the operator's.
fn of_files(place: &Place, files: &[PathBuf]) -> anyhow::Result<Vec<CaseResult>> {
    let (_, policy) = check::load(place)?;
    let mut sources = Vec::new();
    for file in files {
        let bytes = super::read_named(file)?;
        sources.push(Source::new(
            &file.display().to_string(),
            &String::from_utf8_lossy(&bytes),
        ));
    }
    let mut report = Report::new();
    let read = cases::read(&sources, &mut report);
    if !report.is_empty() {
        return Err(report.into());
    }
    Ok(read.iter().map(|case| cases::run(&policy, case)).collect())
}

/// Presets as they come, each alone, with their own cases.
fn of_presets(names: &[String]) -> anyhow::Result<Vec<CaseResult>> {
    let mut results = Vec::new();
    for name in names {
        let wanted: Vec<&Preset> = match name.as_str() {
            "all" => presets::ALL.iter().collect(),
            name => vec![super::preset::named(name)?],
        };
        for preset in wanted {
            for trial in preset.trials()? {
                let run = |case| {
                    let result = cases::run(&trial.policy, case);
                    let name = format!("{} ({}): {}", preset.name, trial.form, result.name);
                    CaseResult { name, ..result }
                };
                results.extend(trial.cases.iter().map(run));
            }
        }
    }
    Ok(results)
}

fn told(result: &CaseResult) -> String {
    let paint = Paint::on_stdout();
    let CaseResult {
        name,
        place,
        passed,
        expected,
        got,
    } = result;
    if *passed {
        return format!("{}   {name}", paint.green("ok"));
    }
    format!(
        "{} {name} ({place})\n     expected {expected}\n     got      {got}",
        paint.red("FAIL")
    )
}
