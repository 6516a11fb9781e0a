//! Responses that hand out tokens: whatever comes out holds a placeholder where a token was, and is the same document.
#![cfg_attr(fuzzing, no_main)]

use std::sync::OnceLock;

use exeat_custody::{
    Custody, Live, MintRule, Minting,
    redact::{TextRules, Written},
};
use exeat_types::{AgentId, MintForm, Origin, Reach, Secret, Timestamp, unique_json};
use serde_json::Value;

struct Ground {
    custody: Custody,
    agent: AgentId,
    rules: Vec<(MintForm, Vec<MintRule>)>,
}

/// The first byte says which form the response has.
pub(crate) fn run(bytes: &[u8]) {
    static GROUND: OnceLock<Option<Ground>> = OnceLock::new();
    let Some(ground) = GROUND.get_or_init(ground) else {
        return;
    };
    let [kind, body @ ..] = bytes else { return };
    let which = usize::from(*kind) % ground.rules.len();
    let Some((form, rules)) = ground.rules.get(which) else {
        return;
    };
    let minting = Minting {
        agent: &ground.agent,
        rules,
        now: Timestamp::from_millis(0),
    };
    let asked = (&TextRules::default(), Written::Json);
    let Ok(rewritten) = ground.custody.mint(&minting, body, asked) else {
        return;
    };
    let watch = ground.custody.watch();
    let ours = |text: &str| text.is_empty() || watch.found_in(text.as_bytes());
    if unique_json(body).is_ok() {
        let after = serde_json::from_slice(&rewritten.body);
        assert!(after.is_ok(), "it is no document any more");
        let names: &[&str] = match form {
            MintForm::Oauth => &["access_token", "refresh_token", "id_token", "accessToken"],
            MintForm::Sts => &["SecretAccessKey", "SessionToken", "accessKeyId"],
            MintForm::Registry => &["token", "access_token", "refresh_token"],
            MintForm::Github => &["token"],
        };
        let mut texts = Vec::new();
        collect(&after.unwrap_or(Value::Null), names, &mut texts);
        assert!(texts.iter().all(|text| ours(text)), "{texts:?}");
    }
    let text = String::from_utf8_lossy(&rewritten.body);
    for part in text.split("<SecretAccessKey>").skip(1) {
        let inside = part.split('<').next().unwrap_or_default().trim();
        assert!(*form != MintForm::Sts || !text.trim_start().starts_with('<') || ours(inside));
    }
}

fn collect(value: &Value, names: &[&str], texts: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if names.contains(&name.as_str()) => {
                        texts.push(text.clone())
                    }
                    _ => collect(value, names, texts),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, names, texts)),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn ground() -> Option<Ground> {
    let agent = AgentId::new("fuzz").ok()?;
    let key = Secret::new(b"CANARY-fuzz-key-0001".to_vec());
    let live = Live::new().ok()?;
    let custody = Custody::build(Vec::new(), std::slice::from_ref(&agent), &key, &live).ok()?;
    let here = Origin::parse("https://issuer.example").ok()?;
    let forms = [
        MintForm::Oauth,
        MintForm::Sts,
        MintForm::Registry,
        MintForm::Github,
    ];
    let to = [Reach::from(here.clone())];
    let rules = forms
        .into_iter()
        .map(|form| (form, MintRule::known(form, &to, &here)))
        .collect();
    Some(Ground {
        custody,
        agent,
        rules,
    })
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
