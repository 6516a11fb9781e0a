//! How many tokens a request to a language model can cost at most, as far as it says so itself.
//!
//! A token of text stands for a byte or more, so the bytes of the body bound what the model reads of it. What the body
//! only refers to has no bound that can be seen here.

use serde_json::Value;

use crate::Api;

/// What providers put around the text: roles, separators, the words that explain tools.
const OVERHEAD_TOKENS: u64 = 2048;
/// What one picture or document costs at most beyond its bytes.
const MEDIA_TOKENS: u64 = 16_384;
/// Members that refer to something outside the body.
const REFERENCES: [&str; 9] = [
    "previous_response_id",
    "conversation",
    "cachedContent",
    "cached_content",
    "file_id",
    "file_url",
    "file_uri",
    "fileUri",
    "container",
];
/// Members and kinds of parts that are pictures or documents.
const MEDIA: [&str; 9] = [
    "image",
    "image_url",
    "input_image",
    "document",
    "input_file",
    "inlineData",
    "inline_data",
    "input_audio",
    "file",
];

/// The most tokens that a request can use, its answer included; nothing if the request does not bound them.
pub fn most_tokens(api: Api, body: &Value, body_bytes: u64) -> Option<u64> {
    let mut media = 0_u64;
    if refers_outside(body, &mut media) {
        return None;
    }
    let said = body_bytes
        .checked_add(OVERHEAD_TOKENS)?
        .checked_add(media.checked_mul(MEDIA_TOKENS)?)?;
    answered(api, body)?.checked_add(said)
}

/// The most tokens of the answer.
fn answered(api: Api, body: &Value) -> Option<u64> {
    let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64);
    let times = |value: &Value, key: &str| match value.get(key) {
        None | Some(Value::Null) => Some(1),
        Some(count) => count.as_u64(),
    };
    match api {
        Api::Anthropic => number(body, "max_tokens"),
        Api::AnthropicBatch => {
            let requests = body.get("requests")?.as_array()?;
            let each = |one: &Value| number(one.get("params")?, "max_tokens");
            requests
                .iter()
                .map(each)
                .try_fold(0_u64, |all, one| all.checked_add(one?))
        }
        Api::OpenaiChat => {
            // Servers read one or the other.
            let most = number(body, "max_completion_tokens").max(number(body, "max_tokens"))?;
            most.checked_mul(times(body, "n")?)
        }
        Api::OpenaiResponses => number(body, "max_output_tokens"),
        Api::Gemini => {
            let configs = ["generationConfig", "generation_config"];
            let configs: Vec<&Value> = configs.iter().filter_map(|key| body.get(*key)).collect();
            let most = |config: &&Value| {
                number(config, "maxOutputTokens").max(number(config, "max_output_tokens"))
            };
            let most = configs.iter().filter_map(most).max()?;
            configs.iter().try_fold(most, |all, config| {
                let count = times(config, "candidateCount")?.max(times(config, "candidate_count")?);
                Some(all.max(most.checked_mul(count)?))
            })
        }
    }
}

/// Whether something outside the body is read too; counts pictures and documents on the way.
fn refers_outside(value: &Value, media: &mut u64) -> bool {
    match value {
        Value::Object(members) => members.iter().any(|(key, value)| {
            if REFERENCES.contains(&key.as_str()) && !value.is_null() {
                return true;
            }
            let kind = (key == "type").then(|| value.as_str()).flatten();
            if kind == Some("item_reference") {
                return true;
            }
            if MEDIA.contains(&key.as_str()) || kind.is_some_and(|kind| MEDIA.contains(&kind)) {
                *media = media.saturating_add(1);
            }
            let elsewhere = |text: &str| !text.starts_with("data:");
            let address = matches!(key.as_str(), "url" | "image_url");
            if address && value.as_str().is_some_and(elsewhere) {
                return true;
            }
            refers_outside(value, media)
        }),
        Value::Array(items) => items.iter().any(|item| refers_outside(item, media)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(api: Api, body: &Value, expect: Option<u64>) {
        let most = most_tokens(api, body, 100);
        let all = expect.map(|answer| answer + 100 + OVERHEAD_TOKENS);
        assert_eq!(most, all, "{body}");
    }

    #[test]
    fn of_two_spellings_the_larger_counts_and_what_was_stored_has_no_bound() {
        let both = json!({"max_completion_tokens": 1, "max_tokens": 100_000});
        check(Api::OpenaiChat, &both, Some(100_000));
        let both = json!({
            "generationConfig": {"maxOutputTokens": 1}, "generation_config": {"max_output_tokens": 9}
        });
        check(Api::Gemini, &both, Some(9));
        let stored = json!({
            "max_output_tokens": 5, "input": [{"type": "item_reference", "id": "msg_1"}]
        });
        check(Api::OpenaiResponses, &stored, None);
    }

    #[test]
    fn a_request_that_bounds_its_answer_is_bounded() {
        check(Api::Anthropic, &json!({"max_tokens": 64}), Some(64));
        check(Api::Anthropic, &json!({}), None);
        check(Api::Anthropic, &json!({"max_tokens": "64"}), None);
        let batch =
            json!({"requests": [{"params": {"max_tokens": 1}}, {"params": {"max_tokens": 2}}]});
        check(Api::AnthropicBatch, &batch, Some(3));
        let batch = json!({"requests": [{"params": {"max_tokens": 1}}, {"params": {}}]});
        check(Api::AnthropicBatch, &batch, None);
        check(Api::OpenaiChat, &json!({"max_tokens": 5}), Some(5));
        check(
            Api::OpenaiChat,
            &json!({"max_completion_tokens": 7, "max_tokens": 5, "n": 3}),
            Some(21),
        );
        check(
            Api::OpenaiChat,
            &json!({"max_tokens": u64::MAX, "n": 2}),
            None,
        );
        check(
            Api::OpenaiResponses,
            &json!({"max_output_tokens": 9}),
            Some(9),
        );
        let gemini = json!({"generationConfig": {"maxOutputTokens": 8, "candidateCount": 2}});
        check(Api::Gemini, &gemini, Some(16));
        check(Api::Gemini, &json!({"contents": []}), None);
    }

    #[test]
    fn what_lies_outside_the_body_has_no_bound() {
        for more in [
            json!({"previous_response_id": "resp_1"}),
            json!({"input": [{"type": "input_file", "file_id": "f"}]}),
            json!({"input": [{"type": "input_image", "image_url": "https://a.test/b.png"}]}),
            json!({"messages": [{"content": [{"source": {"type": "url", "url": "https://a.test"}}]}]}),
        ] {
            let mut body = more;
            body["max_output_tokens"] = 9.into();
            check(Api::OpenaiResponses, &body, None);
        }
        let inside = json!({"max_output_tokens": 9, "input": [{"type": "input_image", "image_url": "data:image/png;base64,AA"}]});
        assert!(most_tokens(Api::OpenaiResponses, &inside, 100).unwrap() >= 100 + MEDIA_TOKENS);
    }
}
