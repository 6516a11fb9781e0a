//! `[tool.response]`: what is done to the responses of a tool.

use exeat_types::{
    Report,
    config::{Item, Table},
    did_you_mean,
};

use super::{mints, size};
use crate::{HiddenText, Markers, Mints, Pii, ResponseRules};

/// Reads the table, if there is one.
pub(super) fn response(table: &Table<'_>, report: &mut Report) -> ResponseRules {
    let Some(response) = table.get("response").and_then(|item| item.table(report)) else {
        return ResponseRules::default();
    };
    let remove = response.get("remove");
    let bytes_max = response.get("bytes-max");
    let pii = response.get("pii");
    let text = response.get("text");
    let markers = response.get("markers");
    let deltas = response.get("deltas");
    let rules = ResponseRules {
        remove: remove.map_or_else(Vec::new, |item| pointers(item, report)),
        bytes_max: bytes_max
            .and_then(|item| size(item, report))
            .and_then(|bytes| u64::try_from(bytes).ok()),
        pii: pii.map_or_else(Vec::new, |item| kinds(item, report)),
        hidden: text
            .and_then(|item| item.word(report, &TEXT))
            .unwrap_or_default(),
        markers: match markers.and_then(|item| item.flag(report)) {
            Some(true) => Markers::Flag,
            Some(false) | None => Markers::Ignore,
        },
        deltas: deltas.map_or_else(Vec::new, |item| texts(item, report)),
        mints: mints::mints(&response, report),
    };
    if let (Some(item), true) = (deltas, rules.mints != Mints::Nothing) {
        let problem = item.problem(report, "`deltas` and `mints` stand side by side");
        problem.help("a response that hands out tokens is held whole, and is no stream");
    }
    if let (Some(item), false) = (deltas, rules.remove.is_empty()) {
        let problem = item.problem(report, "`deltas` and `remove` stand side by side");
        problem.help("a response that loses members is held whole, and is no stream");
    }
    response.finish(report);
    rules
}

const TEXT: [(&str, HiddenText); 2] = [("keep", HiddenText::Keep), ("strip", HiddenText::Strip)];

/// Where the APIs that stream text keep its pieces.
const PRESETS: [(&str, &[&str]); 3] = [
    (
        "anthropic",
        &["/delta/text", "/delta/partial_json", "/delta/thinking"],
    ),
    (
        "openai-chat",
        &[
            "/choices/delta/content",
            "/choices/delta/reasoning_content",
            "/choices/delta/refusal",
            "/choices/delta/tool_calls/function/arguments",
            "/choices/text",
        ],
    ),
    ("openai-responses", &["/delta"]),
];

fn pointers(item: Item<'_>, report: &mut Report) -> Vec<String> {
    let items = item.items(report);
    items
        .into_iter()
        .filter_map(|item| pointer(item, report))
        .collect()
}

fn pointer(item: Item<'_>, report: &mut Report) -> Option<String> {
    match item.text(report) {
        Some(text) if text.starts_with('/') => Some(text.to_owned()),
        Some(_) => {
            let problem = item.problem(report, "expected a JSON pointer");
            problem.help("a pointer begins with `/`, such as `/user/email`");
            None
        }
        None => None,
    }
}

fn kinds(item: Item<'_>, report: &mut Report) -> Vec<Pii> {
    let items = item.items(report);
    items
        .into_iter()
        .filter_map(|item| item.word(report, &Pii::NAMED))
        .collect()
}

/// Pointers, or the names of presets.
fn texts(item: Item<'_>, report: &mut Report) -> Vec<String> {
    let mut all = Vec::new();
    for item in item.items(report) {
        let Some(text) = item.text(report) else {
            continue;
        };
        if text.starts_with('/') {
            all.push(text.to_owned());
            continue;
        }
        let names = PRESETS.map(|(name, _)| name);
        match PRESETS.iter().find(|(name, _)| *name == text) {
            Some((_, known)) => all.extend(known.iter().map(|&pointer| pointer.to_owned())),
            None => {
                let message = format!("expected a JSON pointer or a preset, got `{text}`");
                let problem = item.problem(report, message);
                match did_you_mean(text, names) {
                    Some(near) => problem.help(format!("did you mean `{near}`?")),
                    None => problem.help(format!("the presets are: {}", names.join(", "))),
                };
            }
        }
    }
    all
}
