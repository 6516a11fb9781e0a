//! What the provider may not do by itself, and what is taken out of a request.

use serde_json::{Value, json};

use super::{Api, LlmRules, ProviderTools, examine, kind_of};

fn rules(api: Api, provider_tools: ProviderTools, allow: &[&str]) -> LlmRules {
    LlmRules {
        api,
        provider_tools,
        allow: allow.iter().copied().map(str::to_owned).collect(),
    }
}

fn full(api: Api, part: &Value) -> Value {
    let mut body = match api {
        Api::OpenaiResponses => json!({"model": "m", "input": "hello"}),
        _ => json!({"model": "m", "messages": [{"role": "user", "content": "hello"}]}),
    };
    let (Value::Object(body_members), Value::Object(part)) = (&mut body, part) else {
        panic!("not an object");
    };
    body_members.extend(part.clone());
    body
}

/// Whether a request passes where the provider may do nothing.
#[track_caller]
fn passes(api: Api, part: &Value) {
    let mut body = full(api, part);
    let read = examine(&rules(api, ProviderTools::Deny, &[]), &mut body);
    let said = read.unwrap_or_else(|wrong| panic!("{part}: {wrong:?}"));
    assert!(!said.trimmed, "{part}");
    assert_eq!(body, full(api, part));
    assert_eq!(said.arguments["provider_tools"], json!([]));
}

/// A request is refused, naming this; allowed when that is allowed; and trimmed to `rest`, if it can be.
#[track_caller]
fn check(api: Api, part: &Value, kind: &str, rest: Option<&Value>) {
    let with = |tools, allow: &[&str]| {
        let mut body = full(api, part);
        let read = examine(&rules(api, tools, allow), &mut body);
        (read, body)
    };
    let (refused, _) = with(ProviderTools::Deny, &[]);
    let refused = format!("{:?}", refused.expect_err(&part.to_string()));
    assert!(refused.contains(&format!("`{kind}`")), "{part}: {refused}");
    for (tools, allow) in [
        (ProviderTools::Deny, &[kind][..]),
        (ProviderTools::Allow, &[]),
    ] {
        let (said, body) = with(tools, allow);
        assert_eq!(
            said.unwrap().arguments["provider_tools"],
            json!([kind]),
            "{part}"
        );
        assert_eq!(body, full(api, part));
    }
    let (said, body) = with(ProviderTools::Trim, &[]);
    match rest {
        Some(rest) => {
            let said = said.unwrap();
            assert!(said.trimmed);
            assert_eq!(said.arguments["trimmed"], json!([kind]));
            assert_eq!(body, full(api, rest));
        }
        None => assert!(said.is_err(), "{part}"),
    }
}

#[test]
fn tools_of_the_client_pass() {
    let anthropic = json!({"max_tokens": 5, "stream": true, "tool_choice": {"type": "tool", "name": "mine"}, "tools": [
        {"name": "mine", "input_schema": {}}, {"type": "custom", "name": "x", "input_schema": {}},
        {"type": "bash_20250124", "name": "bash"}, {"type": "text_editor_20250728", "name": "edit"},
        {"type": "computer_20251124", "name": "computer"}, {"type": "memory_20250818", "name": "memory"}]});
    passes(Api::Anthropic, &anthropic);
    passes(
        Api::Anthropic,
        &json!({"mcp_servers": [], "container": null}),
    );
    let chat = json!({"tools": [{"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "c"}}], "tool_choice": "auto"});
    passes(Api::OpenaiChat, &chat);
    let responses = json!({"tools": [{"type": "function", "name": "f"}, {"type": "local_shell"},
        {"type": "shell", "environment": {"type": "local"}}, {"type": "apply_patch"},
        {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "g"}]},
        {"type": "tool_search", "execution": "client"}, {"type": "computer_use_preview"}]});
    passes(Api::OpenaiResponses, &responses);
    let data = json!({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AA"}]}]});
    passes(Api::OpenaiResponses, &data);
}

#[test]
fn what_the_provider_runs_is_refused_or_taken_out() {
    let none = json!({});
    for (kind, word) in [
        ("web_search", "web_search_20250305"),
        ("web_fetch", "web_fetch_20250910"),
        ("code_execution", "code_execution_20250825"),
        ("mcp_toolset", "mcp_toolset"),
        ("tool_search_tool_regex", "tool_search_tool_regex_20251119"),
        ("anything_new", "anything_new_20300101"),
    ] {
        check(
            Api::Anthropic,
            &json!({"tools": [{"type": word, "name": "t"}], "tool_choice": {"type": "any"}}),
            kind,
            Some(&none),
        );
    }
    check(
        Api::Anthropic,
        &json!({"tools": [{"type": 5, "name": "t"}]}),
        "unknown",
        Some(&none),
    );
    check(
        Api::Anthropic,
        &json!({"tools": ["web_search"]}),
        "custom",
        Some(&none),
    );
    check(
        Api::Anthropic,
        &json!({"mcp_servers": [{"type": "url", "url": "https://a.example"}]}),
        "mcp",
        Some(&none),
    );
    check(
        Api::Anthropic,
        &json!({"container": {"skills": []}}),
        "container",
        Some(&none),
    );
    let mixed = json!({"tools": [{"name": "mine"}, {"type": "web_search_20250305", "name": "web_search"}], "tool_choice": {"type": "tool", "name": "web_search"}});
    check(
        Api::Anthropic,
        &mixed,
        "web_search",
        Some(&json!({"tools": [{"name": "mine"}]})),
    );
}

#[test]
fn what_the_other_provider_runs_is_refused_or_taken_out() {
    let none = json!({});
    for word in [
        "web_search_preview",
        "web_search",
        "web_search_preview_2025_03_11",
    ] {
        check(
            Api::OpenaiResponses,
            &json!({"tools": [{"type": word}], "tool_choice": {"type": word}}),
            "web_search",
            Some(&none),
        );
    }
    for word in [
        "mcp",
        "file_search",
        "code_interpreter",
        "image_generation",
        "shell",
        "tool_search",
        "new",
    ] {
        check(
            Api::OpenaiResponses,
            &json!({"tools": [{"type": word}]}),
            word,
            Some(&none),
        );
    }
    let hosted = json!({"tools": [{"type": "shell", "environment": {"type": "container_auto"}}]});
    check(Api::OpenaiResponses, &hosted, "shell", Some(&none));
    let nested = json!({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "mcp"}, {"type": "function", "name": "f"}]}]});
    let left = json!({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f"}]}]});
    check(Api::OpenaiResponses, &nested, "mcp", Some(&left));
    let chosen = json!({"tools": [{"type": "function", "name": "f"}, {"type": "mcp"}], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp", "server_label": "s"}]}});
    check(
        Api::OpenaiResponses,
        &chosen,
        "mcp",
        Some(&json!({"tools": [{"type": "function", "name": "f"}]})),
    );
    check(
        Api::OpenaiResponses,
        &json!({"tools": [{"name": "no type"}]}),
        "unknown",
        Some(&none),
    );
    let loaded = json!({"input": [{"type": "tool_search_output", "tools": [{"type": "mcp"}]}]});
    check(
        Api::OpenaiResponses,
        &loaded,
        "mcp",
        Some(&json!({"input": [{"type": "tool_search_output"}]})),
    );
    let loaded = json!({"input": {"type": "tool_search_output", "tools": [{"type": "mcp"}]}});
    let left = json!({"input": {"type": "tool_search_output"}});
    check(Api::OpenaiResponses, &loaded, "mcp", Some(&left));
    check(
        Api::OpenaiChat,
        &json!({"web_search_options": {}}),
        "web_search",
        Some(&none),
    );
    check(
        Api::OpenaiChat,
        &json!({"tools": [{"type": "web_search"}]}),
        "web_search",
        Some(&none),
    );
}

#[test]
fn what_cannot_be_taken_out_is_refused_also_when_trimming() {
    check(
        Api::OpenaiResponses,
        &json!({"prompt": {"id": "pmpt_1"}}),
        "prompt",
        None,
    );
    check(
        Api::OpenaiChat,
        &json!({"model": "gpt-4o-search-preview"}),
        "web_search",
        None,
    );
    let image = |url: &str| json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]});
    check(
        Api::OpenaiChat,
        &image("https://a.example/?secret"),
        "url",
        None,
    );
    let file = json!({"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "https://a.example"}]}]});
    check(Api::OpenaiResponses, &file, "url", None);
    let screen = json!({"input": [{"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": "https://a.example"}}]});
    check(Api::OpenaiResponses, &screen, "url", None);
    let one = json!({"input": {"type": "input_image", "image_url": "https://a.example"}});
    check(Api::OpenaiResponses, &one, "url", None);
    let one = json!({"messages": {"role": "user", "content": {"type": "image_url", "image_url": {"url": "https://a.example"}}}});
    check(Api::OpenaiChat, &one, "url", None);
    let source =
        json!({"type": "image", "source": {"type": "url", "url": "https://a.example/?secret"}});
    for content in [
        json!([source]),
        source.clone(),
        json!([{"type": "tool_result", "content": [source]}]),
        json!([{"type": "document", "source": {"type": "content", "content": [source]}}]),
    ] {
        check(
            Api::Anthropic,
            &json!({"messages": [{"role": "user", "content": content}]}),
            "url",
            None,
        );
    }
    check(Api::Anthropic, &json!({"system": [source]}), "url", None);
}

#[test]
fn gemini_has_its_own_words_for_the_same() {
    let functions =
        json!({"tools": [{"functionDeclarations": [{"name": "f"}]}, {"computer_use": {}}]});
    passes(Api::Gemini, &functions);
    for word in ["google_search", "googleSearch"] {
        let part = json!({"tools": [{word: {}, "function_declarations": [{"name": "f"}]}]});
        let left = json!({"tools": [{"function_declarations": [{"name": "f"}]}]});
        check(Api::Gemini, &part, "google_search", Some(&left));
    }
    for (word, kind) in [
        ("urlContext", "url_context"),
        ("code_execution", "code_execution"),
        ("new", "new"),
    ] {
        check(
            Api::Gemini,
            &json!({"tools": [{word: {}}]}),
            kind,
            Some(&json!({})),
        );
    }
    let file = |uri: &str| json!({"contents": [{"parts": [{"fileData": {"fileUri": uri}}]}]});
    check(Api::Gemini, &file("https://a.example/?secret"), "url", None);
    let answer = json!({"contents": [{"parts": [{"functionResponse": {"parts": [{"fileData": {"fileUri": "https://a.example"}}]}}]}]});
    check(Api::Gemini, &answer, "url", None);
    let part = json!({"fileData": {"fileUri": "https://a.example/?secret"}});
    for one in [
        json!({"contents": [{"parts": part}]}),
        json!({"contents": {"parts": part}}),
        json!({"contents": [{"parts": [{"file_data": [{"file_uri": "https://a.example"}]}]}]}),
        json!({"contents": [{"parts": {"functionResponse": {"parts": part}}}]}),
        json!({"content": {"parts": part}}),
        json!({"systemInstruction": {"parts": part}}),
        json!({"system_instruction": [{"parts": [part]}]}),
        json!({"generateContentRequest": {"contents": [{"parts": [part]}]}}),
    ] {
        check(Api::Gemini, &one, "url", None);
    }
    let counted = json!({"generateContentRequest": {"tools": [{"googleSearch": {}}]}});
    let left = json!({"generateContentRequest": {}});
    check(Api::Gemini, &counted, "google_search", Some(&left));
    passes(
        Api::Gemini,
        &file("https://generativelanguage.googleapis.com/v1beta/files/x"),
    );
    check(
        Api::Gemini,
        &json!({"cachedContent": "cachedContents/1"}),
        "cached_content",
        None,
    );
}

#[test]
fn what_cannot_be_read_is_refused() {
    for part in [
        json!({"model": 5}),
        json!({"model": null}),
        json!({"tools": {}}),
        json!({"tools": "x"}),
        json!({"max_tokens": 1.5}),
        json!({"max_tokens": "5"}),
        json!({"stream": "yes"}),
    ] {
        for api in [Api::Anthropic, Api::OpenaiChat] {
            let mut body = full(api, &part);
            assert!(
                examine(&rules(api, ProviderTools::Allow, &[]), &mut body).is_err(),
                "{part}"
            );
        }
    }
}

#[test]
fn rules_read_models_limits_and_tools() {
    let mut body = json!({"model": "gpt-5", "messages": [], "max_tokens": 5, "max_completion_tokens": 9, "stream": true,
        "tools": [{"type": "function", "function": {"name": "f"}}]});
    let said = examine(&rules(Api::OpenaiChat, ProviderTools::Deny, &[]), &mut body).unwrap();
    let expect = json!({"api": "openai-chat", "models": ["gpt-5"], "stream": true, "tools": ["f"],
        "provider_tools": [], "trimmed": [], "max_tokens": 9});
    assert_eq!(said.arguments, expect);
}

#[test]
fn every_message_of_a_batch_is_judged() {
    let batch = rules(Api::AnthropicBatch, ProviderTools::Trim, &[]);
    let entry = |tools: Value| json!({"custom_id": "a", "params": {"model": "m", "max_tokens": 1, "messages": [], "tools": tools}});
    let mut body = json!({"requests": [entry(json!([{"name": "mine"}])), entry(json!([{"type": "web_fetch_20250910", "name": "w"}, {"name": "b"}]))]});
    let said = examine(&batch, &mut body).unwrap();
    assert_eq!(said.arguments["trimmed"], json!(["web_fetch"]));
    assert_eq!(
        body,
        json!({"requests": [entry(json!([{"name": "mine"}])), entry(json!([{"name": "b"}]))]})
    );
    for wrong in [
        json!({}),
        json!({"requests": []}),
        json!({"requests": [{}]}),
    ] {
        assert!(examine(&batch, &mut wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn a_type_is_read_without_its_date() {
    for (word, kind) in [
        ("web_search_20250305", "web_search"),
        ("web_search_preview_2025_03_11", "web_search"),
        ("text_editor", "text_editor"),
        ("computer_use_preview", "computer_use"),
        ("20250305", "20250305"),
    ] {
        assert_eq!(kind_of(word), kind, "{word}");
    }
}
