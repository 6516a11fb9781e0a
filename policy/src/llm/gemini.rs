//! Google's Gemini API: each member of a tool is a tool, and files can be named by an address.

use serde_json::{Map, Value};

use super::{LlmRules, Removal, Seen, Stay, items, name_of};

/// Members of a tool that the client runs, in both spellings that the API takes.
const CLIENT: [&str; 4] = [
    "functionDeclarations",
    "function_declarations",
    "computerUse",
    "computer_use",
];
/// Where files lie that were uploaded to the provider before.
const UPLOADED: &str = "https://generativelanguage.googleapis.com/";

pub(super) fn content(rules: &LlmRules, body: &mut Map<String, Value>, seen: &mut Seen) {
    let configs = ["generationConfig", "generation_config"];
    for config in configs
        .iter()
        .filter_map(|name| body.get(*name)?.as_object())
    {
        seen.limits(config, &["maxOutputTokens", "max_output_tokens"]);
    }
    // A count of tokens can be about a whole request.
    for name in ["generateContentRequest", "generate_content_request"] {
        match body.get_mut(name) {
            None | Some(Value::Null) => {}
            Some(Value::Object(inner)) => content(rules, inner, seen),
            Some(_) => seen.refuse(&format!("body/{name}"), "not an object"),
        }
    }
    match body.get_mut("tools") {
        None | Some(Value::Null) => {}
        Some(Value::Array(tools)) => {
            tools.retain_mut(|tool| judge(rules, tool, seen) == Stay::Yes);
            if tools.is_empty() && !seen.trimmed.is_empty() {
                body.shift_remove("tools");
            }
        }
        Some(_) => seen.refuse("body/tools", "not a list"),
    }
    // Contents that the provider keeps bring tools of their own.
    for name in ["cachedContent", "cached_content"] {
        if body.get(name).is_some_and(|value| !value.is_null()) {
            seen.judge(
                rules,
                &format!("body/{name}"),
                "cached_content",
                Removal::Impossible,
            );
        }
    }
    let system = ["systemInstruction", "system_instruction"];
    // A text to be embedded stands alone, in `content`.
    let all: Vec<&Value> = ["contents", "content"]
        .iter()
        .chain(&system)
        .flat_map(|name| items(body.get(*name)))
        .flat_map(|content| items(content.get("parts")))
        .collect();
    for part in all {
        files(rules, part, seen);
    }
}

/// Takes out of one tool what the provider would run; a tool of which nothing is left goes.
fn judge(rules: &LlmRules, tool: &mut Value, seen: &mut Seen) -> Stay {
    let Value::Object(members) = tool else {
        return seen.judge(rules, "body/tools", "unknown", Removal::Possible);
    };
    let before = members.len();
    members.retain(|name, value| {
        if CLIENT.contains(&name.as_str()) {
            seen.tools
                .extend(items(Some(value)).iter().filter_map(name_of));
            return true;
        }
        seen.judge(rules, "body/tools", &snake(name), Removal::Possible) == Stay::Yes
    });
    match members.is_empty() && before > 0 {
        true => Stay::No,
        false => Stay::Yes,
    }
}

/// `googleSearch` and `google_search` are the same tool.
fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

fn files(rules: &LlmRules, part: &Value, seen: &mut Seen) {
    let answers = ["functionResponse", "function_response"];
    for answer in answers.iter().flat_map(|name| items(part.get(*name))) {
        for inner in items(answer.get("parts")) {
            files(rules, inner, seen);
        }
    }
    let data = ["fileData", "file_data"];
    let uri = ["fileUri", "file_uri"];
    let uploaded = |uri: Option<&Value>| {
        uri.is_none_or(|uri| uri.as_str().is_some_and(|uri| uri.starts_with(UPLOADED)))
    };
    for file in data.iter().flat_map(|name| items(part.get(*name))) {
        if !uri.iter().all(|name| uploaded(file.get(*name))) {
            seen.judge(rules, "body/contents", "url", Removal::Impossible);
        }
    }
}
