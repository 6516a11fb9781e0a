//! `exeat tool`: the declared tools, and making them from an OpenAPI description.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::{Context as _, bail};
use exeat_policy::{
    BodyNeed, HiddenText, Markers, MintedAt, Mints, Tool as Declared,
    openapi::{self, Imported, Options},
};
use exeat_types::{Source, did_you_mean};
use serde_json::{Value, json};

use super::{Place, check};
use crate::{
    args::{Import, Tool},
    ui::{self, Ending, Output},
};

/// Examples shown for one kind of note; `--json` has all.
const NOTE_EXAMPLES: usize = 3;

pub(super) fn tool(place: &Place, order: Tool) -> anyhow::Result<Ending> {
    match order {
        Tool::List => {
            let (_, policy) = check::load(place)?;
            let tools: Vec<&Declared> = policy.tools().collect();
            let values: Vec<Value> = tools.iter().map(|tool| facts(tool)).collect();
            let row = |tool: &&Declared| {
                let request = format!("{} {}{}", tool.method, tool.origin, tool.template);
                [
                    tool.name.to_string(),
                    tool.category.as_str().to_owned(),
                    request,
                ]
            };
            let rows: Vec<[String; 3]> = tools.iter().map(row).collect();
            place.print_all(&values, || {
                ui::table(["TOOL", "CATEGORY", "REQUEST"], &rows)
            })?;
        }
        Tool::Show { name } => {
            let (_, policy) = check::load(place)?;
            let Some(tool) = policy.tool(name.as_str()) else {
                let near =
                    did_you_mean(name.as_str(), policy.tools().map(|tool| tool.name.as_str()));
                let hint = near
                    .map(|near| format!("; did you mean `{near}`?"))
                    .unwrap_or_default();
                bail!("unknown tool `{name}`{hint}");
            };
            let mut value = facts(tool);
            if let Value::Object(members) = &mut value {
                members.insert("input".to_owned(), tool.input_schema().clone());
            }
            place.print(&value, || shown(tool))?;
        }
        Tool::Import(order) => import(place, &order)?,
    }
    Ok(Ending::Done)
}

fn facts(tool: &Declared) -> Value {
    json!({
        "name": tool.name,
        "category": tool.category.as_str(),
        "description": tool.description,
        "method": tool.method.as_str(),
        "origin": tool.origin,
        "path": tool.template,
        "encoded-slash": tool.encoded_slash,
        "credential": tool.credential,
        "slots": tool.slots.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "remove": tool.response.remove,
        "bytes-max": tool.response.bytes_max,
        "pii": tool.response.pii.iter().map(|kind| kind.name()).collect::<Vec<_>>(),
        "text": match tool.response.hidden {
            HiddenText::Keep => "keep",
            HiddenText::Strip => "strip",
        },
        "markers": tool.response.markers == Markers::Flag,
        "deltas": tool.response.deltas,
        "mints": minted(&tool.response.mints),
        "ranges": tool.ranges,
        "runs": tool.runs(),
        "body-max": match tool.body_need {
            BodyNeed::Whole { bytes_max } => Some(bytes_max),
            BodyNeed::Streamed => None,
        },
    })
}

/// What is done to responses besides taking out members and secrets, if anything is.
fn cleaning(tool: &Declared) -> Option<String> {
    let rules = &tool.response;
    let mut done = Vec::new();
    if let Some(bytes) = rules.bytes_max {
        done.push(format!("at most {bytes} bytes"));
    }
    let kinds: Vec<&str> = rules.pii.iter().map(|kind| kind.name()).collect();
    if !kinds.is_empty() {
        done.push(format!("without {}", kinds.join(", ")));
    }
    if rules.hidden == HiddenText::Strip {
        done.push("hidden text dropped".to_owned());
    }
    if rules.markers == Markers::Flag {
        done.push("markers flagged".to_owned());
    }
    if !rules.deltas.is_empty() {
        done.push(format!("texts read at {}", rules.deltas.join(", ")));
    }
    done.extend(minted(&rules.mints).map(|what| format!("tokens become placeholders ({what})")));
    (!done.is_empty()).then(|| done.join("; "))
}

/// Which tokens of responses become placeholders, if any do.
fn minted(mints: &Mints) -> Option<String> {
    match mints {
        Mints::Nothing => None,
        Mints::Form { form, .. } => Some(form.name().to_owned()),
        Mints::Places(places) => {
            let places = places.iter().map(|place| match &place.at {
                MintedAt::Header(name) => format!("header:{name}"),
                MintedAt::Pointer(pointer) => pointer.clone(),
            });
            Some(places.collect::<Vec<_>>().join(", "))
        }
    }
}

fn shown(tool: &Declared) -> String {
    let mut lines = vec![
        format!("{} ({})", tool.name, tool.category.as_str()),
        format!("  {}", tool.description),
        format!("  {} {}{}", tool.method, tool.origin, tool.template),
    ];
    lines.extend(
        tool.runs()
            .map(|program| format!("  runs: {}", program.display())),
    );
    if let Some(credential) = &tool.credential {
        lines.push(format!("  credential: {credential}"));
    }
    if !tool.response.remove.is_empty() {
        lines.push(format!(
            "  removed from responses: {}",
            tool.response.remove.join(", ")
        ));
    }
    lines.extend(cleaning(tool).map(|done| format!("  done to responses: {done}")));
    let schema = serde_json::to_string_pretty(tool.input_schema()).unwrap_or_default();
    lines.push(format!(
        "  arguments:\n{}",
        schema
            .lines()
            .map(|line| format!("    {line}\n"))
            .collect::<String>()
    ));
    lines.join("\n").trim_end().to_owned()
}

fn import(place: &Place, order: &Import) -> anyhow::Result<()> {
    let bytes = super::read_named(&order.file)?;
    let name = order.file.display().to_string();
    let text = String::from_utf8(bytes).with_context(|| format!("`{name}` is not UTF-8 text"))?;
    let options = Options {
        api_name: order.api_name.clone(),
        origin: order.origin.clone(),
        credential: order.credential.clone(),
        strict: order.strict,
        encoded_slash: order.encoded_slash.clone(),
    };
    let imported = openapi::import(&Source::new(&name, &text), &options)?;
    write_files(&order.out, &imported)?;
    let summary = json!({
        "operations": imported.operations,
        "tools": imported.tools,
        "files": imported.files.iter().map(|(name, _)| order.out.join(name)).collect::<Vec<_>>(),
        "notes": imported.notes.iter().map(note).collect::<Vec<_>>(),
    });
    if place.output == Output::Text {
        tell_notes(&imported);
    }
    place.print(&summary, || {
        let (tools, operations) = (imported.tools, imported.operations);
        format!(
            "{tools} tools of {operations} operations in {} files below {}",
            imported.files.len(),
            order.out.display()
        )
    })
}

/// Writes all files or none: what exists already is found before anything is written.
fn write_files(out: &Path, imported: &Imported) -> anyhow::Result<()> {
    fs::create_dir_all(out)
        .with_context(|| format!("cannot make the folder `{}`", out.display()))?;
    let there: Vec<String> = imported
        .files
        .iter()
        .map(|(name, _)| out.join(name))
        .filter(|path| path.exists())
        .map(|path| path.display().to_string())
        .collect();
    if !there.is_empty() {
        bail!("nothing was written, as these exist: {}", there.join(", "));
    }
    for (name, text) in &imported.files {
        let path = out.join(name);
        let write = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o644)
                .open(&path)?;
            file.write_all(text.as_bytes())
        };
        write().with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(())
}

fn note(note: &openapi::Note) -> Value {
    json!({ "operation": note.operation, "what": note.what, "why": note.why })
}

fn tell_notes(imported: &Imported) {
    for (why, notes) in openapi::grouped(&imported.notes) {
        let times = if notes.len() == 1 {
            "once".to_owned()
        } else {
            format!("{} times", notes.len())
        };
        ui::say(format_args!("note ({times}): {why}"));
        for note in notes.iter().take(NOTE_EXAMPLES) {
            ui::say(format_args!("  {}: {}", note.operation, note.what));
        }
    }
}
