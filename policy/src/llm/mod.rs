//! Requests to language models: what the provider would do by itself, besides answering.
//!
//! SECURITY: a tool that the provider runs (a search, a fetch, code, somebody's MCP server) reaches the network from there,
//! past this gate. What is not known to run at the client counts as run by the provider.

mod anthropic;
mod gemini;
mod openai;
#[cfg(test)]
mod tests;
mod usage;

pub use usage::{Usage, UsageReader, Written};

use std::{collections::BTreeSet, slice};

use serde_json::{Map, Value, json};

use crate::Violation;

/// Which API a body belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// Anthropic's Messages.
    Anthropic,
    /// Anthropic's batches of Messages.
    AnthropicBatch,
    /// `OpenAI`'s chat completions, as many others have them too.
    OpenaiChat,
    /// `OpenAI`'s responses.
    OpenaiResponses,
    /// Google's `generateContent`; the model is in the path.
    Gemini,
}

impl Api {
    /// Every API, with its word in tool files.
    pub const NAMED: [(&'static str, Self); 5] = [
        ("anthropic", Self::Anthropic),
        ("anthropic-batch", Self::AnthropicBatch),
        ("openai-chat", Self::OpenaiChat),
        ("openai-responses", Self::OpenaiResponses),
        ("gemini", Self::Gemini),
    ];

    /// The word in tool files.
    pub fn name(self) -> &'static str {
        let named = Self::NAMED.iter().find(|(_, api)| *api == self);
        named.map_or("", |(name, _)| name)
    }
}

/// What happens to what the provider would run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProviderTools {
    /// The request is refused.
    #[default]
    Deny,
    /// They are taken out of the request; what cannot be taken out refuses it.
    Trim,
    /// They stay, and rules can read which.
    Allow,
}

impl ProviderTools {
    /// Every choice, with its word in tool files.
    pub const NAMED: [(&'static str, Self); 3] = [
        ("deny", Self::Deny),
        ("trim", Self::Trim),
        ("allow", Self::Allow),
    ];
}

/// What `[tool.llm]` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LlmRules {
    /// Which API it is.
    pub api: Api,
    /// What happens to what the provider would run.
    pub provider_tools: ProviderTools,
    /// What stays in any case, by name without a date: `web_search`.
    pub allow: Vec<String>,
}

impl LlmRules {
    /// Judges a body, and takes out of it what has to go. Says whether that was anything.
    ///
    /// # Errors
    /// What the provider may not do, or what cannot be read.
    pub fn examine(&self, body: &mut Value) -> Result<bool, Vec<Violation>> {
        examine(self, body).map(|said| said.trimmed)
    }

    fn keeps(&self, kind: &str) -> bool {
        self.provider_tools == ProviderTools::Allow || self.allow.iter().any(|name| name == kind)
    }
}

/// What a request says, as rules read it: `context.args.llm`.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) arguments: Value,
    /// Whether something was taken out of the body.
    pub(crate) trimmed: bool,
}

/// What one request would have the provider do.
#[derive(Debug, Default)]
struct Seen {
    models: BTreeSet<String>,
    max_tokens: Option<i64>,
    stream: bool,
    /// Tools that the client runs, by name.
    tools: BTreeSet<String>,
    kept: BTreeSet<String>,
    trimmed: BTreeSet<String>,
    wrong: Vec<Violation>,
}

impl Seen {
    fn refuse(&mut self, place: &str, problem: impl Into<String>) {
        self.wrong.push(Violation::new(place, problem));
    }

    /// Judges something that the provider would do; whether it stays where it is.
    fn judge(&mut self, rules: &LlmRules, place: &str, kind: &str, removal: Removal) -> Stay {
        if rules.keeps(kind) {
            self.kept.insert(kind.to_owned());
            return Stay::Yes;
        }
        if rules.provider_tools == ProviderTools::Trim && removal == Removal::Possible {
            self.trimmed.insert(kind.to_owned());
            return Stay::No;
        }
        let kind = crate::wire::shorten(kind);
        self.refuse(
            place,
            format!("the provider would do this by itself: `{kind}`"),
        );
        Stay::Yes
    }

    fn model(&mut self, body: &Map<String, Value>) {
        match body.get("model") {
            Some(Value::String(model)) => drop(self.models.insert(model.clone())),
            _ => self.refuse("body/model", "no model is named"),
        }
    }

    /// The largest of the limits that a request names.
    fn limits(&mut self, body: &Map<String, Value>, names: &[&str]) {
        for name in names {
            match body.get(*name) {
                None | Some(Value::Null) => {}
                Some(value) => match value.as_i64() {
                    Some(limit) => self.max_tokens = self.max_tokens.max(Some(limit)),
                    None => self.refuse(&format!("body/{name}"), "not a whole number"),
                },
            }
        }
    }

    fn stream(&mut self, body: &Map<String, Value>) {
        match body.get("stream") {
            None | Some(Value::Null | Value::Bool(false)) => {}
            Some(Value::Bool(true)) => self.stream = true,
            Some(_) => self.refuse("body/stream", "not true or false"),
        }
    }
}

/// Whether something can be taken out of a request without changing the rest of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Removal {
    Possible,
    Impossible,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stay {
    Yes,
    No,
}

/// Judges a body, and takes out of it what has to go.
///
/// # Errors
/// What the provider may not do, or what cannot be read.
pub(crate) fn examine(rules: &LlmRules, body: &mut Value) -> Result<Said, Vec<Violation>> {
    let Value::Object(members) = body else {
        return Err(vec![Violation::new("body", "expected an object")]);
    };
    let mut seen = Seen::default();
    match rules.api {
        Api::Anthropic => anthropic::message(rules, members, &mut seen),
        Api::AnthropicBatch => anthropic::batch(rules, members, &mut seen),
        Api::OpenaiChat => openai::chat(rules, members, &mut seen),
        Api::OpenaiResponses => openai::response(rules, members, &mut seen),
        Api::Gemini => gemini::content(rules, members, &mut seen),
    }
    if !seen.wrong.is_empty() {
        return Err(seen.wrong);
    }
    let mut arguments = json!({
        "api": rules.api.name(),
        "models": seen.models,
        "stream": seen.stream,
        "tools": seen.tools,
        "provider_tools": seen.kept,
        "trimmed": seen.trimmed,
    });
    if let (Some(limit), Value::Object(members)) = (seen.max_tokens, &mut arguments) {
        members.insert("max_tokens".to_owned(), limit.into());
    }
    Ok(Said {
        arguments,
        trimmed: !seen.trimmed.is_empty(),
    })
}

/// What kind of tool a type is: `web_search_20250305` and `web_search_preview_2025_03_11` are both `web_search`.
fn kind_of(word: &str) -> &str {
    let mut rest = word;
    while let Some((before, last)) = rest.rsplit_once('_') {
        let number = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
        if !number && last != "preview" {
            break;
        }
        rest = before;
    }
    rest
}

/// Takes the tools that go out of a list; `judge` says which, and what it is called if the client runs it.
fn sift(
    body: &mut Map<String, Value>,
    seen: &mut Seen,
    judge: &mut dyn FnMut(&mut Value, &mut Seen) -> Stay,
) {
    match body.get_mut("tools") {
        None | Some(Value::Null) => return,
        Some(Value::Array(tools)) => {
            let before = tools.len();
            tools.retain_mut(|tool| judge(tool, seen) == Stay::Yes);
            if tools.len() == before || !tools.is_empty() {
                return;
            }
        }
        Some(_) => return seen.refuse("body/tools", "not a list"),
    }
    // None is left, so nothing can be chosen either.
    body.shift_remove("tools");
    body.shift_remove("tool_choice");
}

/// The type of a tool.
fn type_of(tool: &Value) -> Option<&str> {
    tool.get("type").and_then(Value::as_str)
}

fn name_of(tool: &Value) -> Option<String> {
    tool.get("name").and_then(Value::as_str).map(str::to_owned)
}

/// A list; one object counts as a list of it, as lenient servers read it so.
fn items(value: Option<&Value>) -> &[Value] {
    match value {
        Some(Value::Array(list)) => list,
        Some(one @ Value::Object(_)) => slice::from_ref(one),
        _ => &[],
    }
}
