//! `exeat policy test`: cases in TOML, each a request and what the rules should say to it.

use std::path::PathBuf;

use exeat_policy::cases::{self, CaseResult};
use exeat_types::{Report, Source};

use super::{Place, check};
use crate::ui::{self, Ending, Output, Paint};

pub(super) fn test(place: &Place, files: &[PathBuf]) -> anyhow::Result<Ending> {
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
    let results: Vec<CaseResult> = read.iter().map(|case| cases::run(&policy, case)).collect();
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
