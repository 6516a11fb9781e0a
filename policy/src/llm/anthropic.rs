//! Anthropic's Messages API: `tools`, `mcp_servers`, `container`, and sources that the provider fetches.

use serde_json::{Map, Value};

use super::{LlmRules, Removal, Seen, Stay, items, kind_of, name_of, sift, type_of};

/// Tools with a meaning of their own that the client runs.
const CLIENT: [&str; 5] = ["custom", "bash", "text_editor", "computer", "memory"];

pub(super) fn message(rules: &LlmRules, body: &mut Map<String, Value>, seen: &mut Seen) {
    seen.model(body);
    seen.limits(body, &["max_tokens"]);
    seen.stream(body);
    tools(rules, body, seen);
    members(rules, body, seen);
    for part in [body.get("system"), body.get("messages")] {
        for block in items(part) {
            sources(rules, block, seen);
        }
    }
}

/// A batch: each entry has a message in `params`.
pub(super) fn batch(rules: &LlmRules, body: &mut Map<String, Value>, seen: &mut Seen) {
    let Some(Value::Array(requests)) = body.get_mut("requests") else {
        return seen.refuse("body/requests", "not a list");
    };
    if requests.is_empty() {
        seen.refuse("body/requests", "an empty list");
    }
    for request in requests {
        match request.get_mut("params") {
            Some(Value::Object(params)) => message(rules, params, seen),
            _ => seen.refuse("body/requests", "an entry without `params`"),
        }
    }
}

fn tools(rules: &LlmRules, body: &mut Map<String, Value>, seen: &mut Seen) {
    let mut gone: Vec<String> = Vec::new();
    sift(body, seen, &mut |tool, seen| {
        let kind = match tool.get("type") {
            None => "custom",
            Some(Value::String(word)) => kind_of(word),
            Some(_) => "unknown",
        };
        if CLIENT.contains(&kind) && tool.is_object() {
            seen.tools.extend(name_of(tool));
            return Stay::Yes;
        }
        let stay = seen.judge(rules, "body/tools", kind, Removal::Possible);
        if stay == Stay::No {
            gone.extend(name_of(tool));
        }
        stay
    });
    let chosen = body.get("tool_choice").and_then(name_of);
    if chosen.is_some_and(|name| gone.contains(&name)) {
        body.shift_remove("tool_choice");
    }
}

/// Members of the request that make the provider work.
fn members(rules: &LlmRules, body: &mut Map<String, Value>, seen: &mut Seen) {
    for (member, kind) in [("mcp_servers", "mcp"), ("container", "container")] {
        let asks = match body.get(member) {
            None | Some(Value::Null) => false,
            Some(Value::Array(list)) => !list.is_empty(),
            Some(_) => true,
        };
        let place = format!("body/{member}");
        if asks && seen.judge(rules, &place, kind, Removal::Possible) == Stay::No {
            body.shift_remove(member);
        }
    }
}

/// Images and documents that are named by an address, which the provider would fetch.
fn sources(rules: &LlmRules, block: &Value, seen: &mut Seen) {
    if let Some(source) = block.get("source") {
        let inline = matches!(
            type_of(source),
            Some("base64" | "text" | "content" | "file")
        );
        if source.is_object() && !inline {
            seen.judge(rules, "body/messages", "url", Removal::Impossible);
        }
        for inner in items(source.get("content")) {
            sources(rules, inner, seen);
        }
    }
    for inner in items(block.get("content")) {
        sources(rules, inner, seen);
    }
}
