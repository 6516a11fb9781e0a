//! `OpenAI`'s APIs: tools of chat completions and of responses, stored prompts, and addresses that the provider fetches.

use std::slice;

use serde_json::{Map, Value};

use super::{LlmRules, Removal, Seen, Stay, items, kind_of, name_of, sift, type_of};

/// Tools that the client runs.
const CLIENT: [&str; 6] = [
    "function",
    "custom",
    "local_shell",
    "apply_patch",
    "computer",
    "computer_use",
];

pub(super) fn chat(rules: &LlmRules, body: &mut Map<String, Value>, seen: &mut Seen) {
    start(body, seen, &["max_tokens", "max_completion_tokens"]);
    sift(body, seen, &mut |tool, seen| judge(rules, tool, seen));
    choose(body, seen);
    let searches = body
        .get("web_search_options")
        .is_some_and(|options| !options.is_null());
    if searches
        && seen.judge(
            rules,
            "body/web_search_options",
            "web_search",
            Removal::Possible,
        ) == Stay::No
    {
        body.shift_remove("web_search_options");
    }
    searching_model(rules, seen);
    for message in items(body.get("messages")) {
        fetched(rules, "body/messages", message, seen);
    }
}

pub(super) fn response(rules: &LlmRules, body: &mut Map<String, Value>, seen: &mut Seen) {
    start(body, seen, &["max_output_tokens"]);
    sift(body, seen, &mut |tool, seen| judge(rules, tool, seen));
    choose(body, seen);
    // A prompt that the provider keeps brings tools of its own.
    if body.get("prompt").is_some_and(|prompt| !prompt.is_null()) {
        seen.judge(rules, "body/prompt", "prompt", Removal::Impossible);
    }
    searching_model(rules, seen);
    let input = match body.get_mut("input") {
        Some(Value::Array(list)) => list.as_mut_slice(),
        Some(one @ Value::Object(_)) => slice::from_mut(one),
        _ => &mut [],
    };
    for item in input {
        // Tools that are loaded in the middle of a conversation; a list of a server's tools is only history.
        let history = type_of(item) == Some("mcp_list_tools");
        if let Value::Object(item) = item
            && !history
        {
            sift(item, seen, &mut |tool, seen| judge(rules, tool, seen));
        }
    }
    for item in items(body.get("input")) {
        fetched(rules, "body/input", item, seen);
    }
}

fn start(body: &Map<String, Value>, seen: &mut Seen, limits: &[&str]) {
    seen.model(body);
    seen.limits(body, limits);
    seen.stream(body);
}

/// Models that search whatever is asked.
fn searching_model(rules: &LlmRules, seen: &mut Seen) {
    if seen.models.iter().any(|model| model.contains("-search")) {
        seen.judge(rules, "body/model", "web_search", Removal::Impossible);
    }
}

fn judge(rules: &LlmRules, tool: &mut Value, seen: &mut Seen) -> Stay {
    let kind = kind_of(type_of(tool).unwrap_or("unknown")).to_owned();
    let client = match kind.as_str() {
        "shell" => tool.get("environment").and_then(type_of) == Some("local"),
        "tool_search" => tool.get("execution").and_then(Value::as_str) == Some("client"),
        "namespace" => {
            if let Value::Object(group) = tool {
                sift(group, seen, &mut |tool, seen| judge(rules, tool, seen));
            }
            true
        }
        known => CLIENT.contains(&known),
    };
    if client {
        let inner = tool.get(&kind).and_then(name_of);
        seen.tools.extend(name_of(tool).or(inner));
        return Stay::Yes;
    }
    seen.judge(rules, "body/tools", &kind, Removal::Possible)
}

/// A choice of a tool that was taken out is taken out too; what is left is for the model to choose from.
fn choose(body: &mut Map<String, Value>, seen: &Seen) {
    if seen.trimmed.is_empty() {
        return;
    }
    let tools = items(body.get("tools"));
    let offered = |kind: &str| tools.iter().any(|tool| type_of(tool) == Some(kind));
    let listed = |choice: &Value| {
        let list = choice
            .get("tools")
            .or_else(|| choice.pointer("/allowed_tools/tools"));
        items(list).iter().filter_map(type_of).all(offered)
    };
    let fits = match body.get("tool_choice") {
        Some(choice @ Value::Object(_)) => match type_of(choice) {
            Some("allowed_tools") => listed(choice),
            Some(kind) => offered(kind),
            None => false,
        },
        _ => true,
    };
    if !fits {
        body.shift_remove("tool_choice");
    }
}

/// Images and files that are named by an address, which the provider would fetch.
fn fetched(rules: &LlmRules, place: &str, part: &Value, seen: &mut Seen) {
    let image = part.get("image_url");
    let image = image.map(|image| image.get("url").unwrap_or(image));
    let outside = image.is_some_and(|image| {
        let inline = image.as_str().is_some_and(|url| url.starts_with("data:"));
        !image.is_null() && !inline
    });
    let file = part.get("file_url").is_some_and(|url| !url.is_null());
    if outside || file {
        seen.judge(rules, place, "url", Removal::Impossible);
    }
    for below in ["content", "output"] {
        for part in items(part.get(below)) {
            fetched(rules, place, part, seen);
        }
    }
}
