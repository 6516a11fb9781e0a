//! `exeat preset`: what is known of providers, to read and to copy.

use anyhow::bail;
use exeat_types::did_you_mean;
use serde_json::{Value, json};

use super::Place;
use crate::{
    args::Preset as Order,
    presets::{self, Preset},
    ui::{self, Ending},
};

pub(super) fn preset(place: &Place, order: Order) -> anyhow::Result<Ending> {
    match order {
        Order::List => {
            let values: Vec<Value> = presets::ALL.iter().map(facts).collect();
            let rows: Vec<[String; 3]> = presets::ALL.iter().map(row).collect();
            place.print_all(&values, || {
                ui::table(["PRESET", "KEYS", "OTHER FORMS"], &rows)
            })?;
        }
        Order::Show { name } => {
            let preset = named(&name)?;
            let mut value = facts(preset);
            if let Value::Object(members) = &mut value {
                members.extend(details(preset)?);
            }
            place.print(&value, || shown(preset))?;
        }
    }
    Ok(Ending::Done)
}

/// The preset of this name.
pub(super) fn named(name: &str) -> anyhow::Result<&'static Preset> {
    if let Some(preset) = Preset::named(name) {
        return Ok(preset);
    }
    let near = did_you_mean(name, presets::ALL.iter().map(|preset| preset.name));
    let hint = near.map(|near| format!("; did you mean `{near}`?"));
    bail!("unknown preset `{name}`{}", hint.unwrap_or_default())
}

fn row(preset: &Preset) -> [String; 3] {
    let variables = preset.keys.iter().flat_map(|key| key.variables);
    let variables: Vec<&str> = variables.copied().collect();
    let forms: Vec<&str> = preset.forms.iter().map(|form| form.name).collect();
    [
        preset.name.to_owned(),
        variables.join(", "),
        forms.join(", "),
    ]
}

fn facts(preset: &Preset) -> Value {
    let key = |key: &presets::Key| json!({"variables": key.variables, "text": key.text});
    let form = |form: &presets::Form| json!({"name": form.name, "text": form.text});
    json!({
        "name": preset.name,
        "keys": preset.keys.iter().map(key).collect::<Vec<_>>(),
        "forms": preset.forms.iter().map(form).collect::<Vec<_>>(),
    })
}

/// Its tools as they are when it stands alone, and its texts.
fn details(preset: &Preset) -> anyhow::Result<serde_json::Map<String, Value>> {
    let mut tools = Vec::new();
    let mut cases = 0_usize;
    for trial in preset.trials()? {
        cases = cases.saturating_add(trial.cases.len());
        for tool in trial.policy.tools() {
            let value = json!({
                "name": tool.name,
                "category": tool.category.as_str(),
                "method": tool.method.as_str(),
                "origin": tool.origin,
                "path": tool.template,
                "credential": tool.credential,
                "description": tool.description,
            });
            if !tools.contains(&value) {
                tools.push(value);
            }
        }
    }
    let texts = preset.texts().into_iter();
    let texts: Vec<Value> = texts
        .map(|(file, text)| json!({"file": file, "text": text}))
        .collect();
    Ok([
        ("tools".to_owned(), Value::Array(tools)),
        ("texts".to_owned(), Value::Array(texts)),
        ("cases".to_owned(), cases.into()),
    ]
    .into_iter()
    .collect())
}

fn shown(preset: &Preset) -> String {
    let texts = preset.texts().into_iter();
    let parts: Vec<String> = texts
        .map(|(file, text)| format!("# ---- {file}\n{}\n", text.trim()))
        .collect();
    parts.join("\n")
}
