//! `signature`: HTTP Message Signatures, and Web Bot Auth as a profile of them.

use std::{sync::Arc, time::Duration};

use exeat_custody::{
    Kind,
    signature::{Component, KeyEncoding, MessageSignature, Nonce},
};
use exeat_types::{
    Report,
    config::{Item, Table},
};

use super::super::raw::{text, texts};

/// What is covered when the configuration does not say it.
const COMPONENTS: [&str; 4] = ["@method", "@target-uri", "@authority", "content-digest"];
const LIFETIME_SECS: u64 = 60;
/// A signature that holds longer than this is as good as a password.
const LIFETIME_SECS_MAX: u64 = 3600;

pub(super) fn signature(table: &Table<'_>, _: &Item<'_>, report: &mut Report) -> Option<Kind> {
    let declared = match table.get("profile") {
        Some(item) => {
            item.word(report, &[("web-bot-auth", ())])?;
            let agent = table.need("agent", report)?;
            let url = agent.text(report)?;
            if !url.starts_with("https://") || !plain(url) {
                agent
                    .problem(
                        report,
                        "expected the `https` URL under which the keys are published",
                    )
                    .help("such as `agent = \"https://bot.example\"`");
                return None;
            }
            MessageSignature::web_bot_auth(url.to_owned())
        }
        None => general(table, report)?,
    };
    Some(Kind::Made(Arc::new(declared)))
}

fn general(table: &Table<'_>, report: &mut Report) -> Option<MessageSignature> {
    let named = table.get("components").is_some();
    let mut components: Vec<Component> = texts(table, "components", report)
        .into_iter()
        .map(|component| component.value)
        .collect();
    if named && components.is_empty() {
        let item = table.get("components")?;
        item.problem(report, "a signature over nothing proves nothing");
        return None;
    }
    if !named {
        components = COMPONENTS
            .iter()
            .filter_map(|one| one.parse().ok())
            .collect();
    }
    let label = named_text(table, "label", report)?.unwrap_or_else(|| "sig1".to_owned());
    let first = label
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_lowercase());
    let rest =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.*".contains(&byte);
    if !first || !label.bytes().all(rest) {
        table
            .get("label")?
            .problem(report, "expected a name in lower case, such as `sig1`");
        return None;
    }
    let nonce = match table.get("nonce").map(|item| item.flag(report)) {
        Some(flag) if !flag? => Nonce::Absent,
        Some(_) | None => Nonce::Random,
    };
    let encoding = match table.get("key-encoding") {
        Some(item) => item.word(
            report,
            &[("text", KeyEncoding::Text), ("base64", KeyEncoding::Base64)],
        )?,
        None => KeyEncoding::Text,
    };
    Some(MessageSignature {
        components,
        label,
        key_id: named_text(table, "key-id", report)?,
        tag: named_text(table, "tag", report)?,
        lifetime: lifetime(table, report)?,
        nonce,
        agent: None,
        encoding,
    })
}

fn lifetime(table: &Table<'_>, report: &mut Report) -> Option<Duration> {
    let Some(item) = table.get("lifetime-secs") else {
        return Some(Duration::from_secs(LIFETIME_SECS));
    };
    let seconds = item.count(report)?;
    if seconds == 0 || seconds > LIFETIME_SECS_MAX {
        item.problem(report, format!("expected 1 to {LIFETIME_SECS_MAX} seconds"));
        return None;
    }
    Some(Duration::from_secs(seconds))
}

/// A text that goes into the signature; `Some(None)` when there is none.
fn named_text(table: &Table<'_>, key: &'static str, report: &mut Report) -> Option<Option<String>> {
    let Some(text) = text(table, key, report) else {
        return Some(None);
    };
    if plain(&text) {
        return Some(Some(text));
    }
    table.get(key)?.problem(report, "expected printable ASCII");
    None
}

fn plain(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte == b' ' || byte.is_ascii_graphic())
}
