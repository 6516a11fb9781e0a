//! Where the secrets of a body stand, in JSON, in a form or in XML, and how long they live.
//!
//! It reads no more of a format than it has to and refuses what it would have to guess at. Nothing here knows what
//! becomes of a secret.

use std::{ops::Range, time::Duration};

use exeat_types::{Secret, Timestamp, unique_json};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::{MintRule, MintedAt};
use crate::{json, redact::Unsafe};

/// A secret in a body.
pub(super) struct Found<'r> {
    /// Where its text stands.
    pub(super) span: Range<usize>,
    /// What it reads.
    pub(super) secret: Secret,
    /// The rule that it was found by.
    pub(super) rule: &'r MintRule,
}

/// What was found in a body.
#[derive(Default)]
pub(super) struct Places<'r> {
    /// In the order of the body.
    pub(super) found: Vec<Found<'r>>,
    /// When the tokens end, if the body says so.
    pub(super) until: Option<Timestamp>,
}

/// The members that say how many seconds a token lives.
const LIFETIMES: [&str; 2] = ["expires_in", "expiresIn"];
/// The members that say when it ends.
const ENDS: [&str; 4] = ["expires_at", "expiresAt", "Expiration", "expiration"];
/// Numbers above are milliseconds: as seconds they would be in the year 5138.
const SECONDS_MAX: u64 = 100_000_000_000;
/// A lifetime beyond is taken for this one.
const LIFETIME_SECONDS_MAX: u64 = 10 * 365 * 24 * 60 * 60;

const UNREAD: Unsafe = Unsafe::Minting("it is none of JSON, a form and XML");

/// Finds the secrets of a body. An empty body has none.
pub(super) fn find<'r>(
    body: &[u8],
    rules: &'r [MintRule],
    now: Timestamp,
) -> Result<Places<'r>, Unsafe> {
    let text = std::str::from_utf8(body).map_err(|_cause| UNREAD)?;
    let mut places = match text.trim_start().as_bytes().first() {
        None => return Ok(Places::default()),
        Some(b'{' | b'[' | b'"') => in_json(text, rules, now)?,
        Some(b'<') => in_xml(text, rules)?,
        Some(_) => in_form(text, rules, now)?,
    };
    places.found.retain(|found| !found.secret.is_empty());
    places.found.sort_by_key(|found| found.span.start);
    let starts = places.found.iter().skip(1).map(|found| found.span.start);
    let overlap = |(one, next): (&Found<'_>, usize)| one.span.end > next;
    if places.found.iter().zip(starts).any(overlap) {
        return Err(Unsafe::Unkept("two of its rules mean one place"));
    }
    Ok(places)
}

fn in_json<'r>(text: &str, rules: &'r [MintRule], now: Timestamp) -> Result<Places<'r>, Unsafe> {
    let document =
        unique_json(text.as_bytes()).map_err(|_cause| Unsafe::Minting("its JSON is malformed"))?;
    let mut found = Vec::new();
    for rule in rules {
        let spans = match &rule.at {
            MintedAt::Header(_) => continue,
            MintedAt::Member(name) => json::members(text.as_bytes(), name)
                .ok_or(Unsafe::Unkept("a secret of it is no string"))?,
            MintedAt::Pointer(pointer) => match document.pointer(pointer) {
                None | Some(Value::Null) => continue,
                Some(_) => {
                    let span = json::string_at(text.as_bytes(), pointer);
                    vec![span.ok_or(Unsafe::Unkept("a secret of it is no string"))?]
                }
            },
        };
        for span in spans {
            let inside = text.get(span.clone()).unwrap_or_default();
            let read: String = serde_json::from_str(&format!("\"{inside}\""))
                .map_err(|_cause| Unsafe::Unkept("a secret of it is no text"))?;
            found.push(Found {
                span,
                secret: Secret::new(read.into_bytes()),
                rule,
            });
        }
    }
    // A rule by name and one by pointer may mean the same place; the first one is meant.
    let mut seen: Vec<usize> = Vec::new();
    found.retain(|one: &Found<'_>| {
        let new = !seen.contains(&one.span.start);
        seen.push(one.span.start);
        new
    });
    Ok(Places {
        found,
        until: ends(&document, now),
    })
}

/// When the tokens of a document end: the latest moment that it names.
fn ends(document: &Value, now: Timestamp) -> Option<Timestamp> {
    match document {
        Value::Object(members) => {
            let own = members.iter().filter_map(|(name, value)| {
                if LIFETIMES.contains(&name.as_str()) {
                    lifetime(value, now)
                } else if ENDS.contains(&name.as_str()) {
                    end(value)
                } else {
                    ends(value, now)
                }
            });
            own.max()
        }
        Value::Array(items) => items.iter().filter_map(|item| ends(item, now)).max(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn lifetime(value: &Value, now: Timestamp) -> Option<Timestamp> {
    let seconds = match value {
        Value::Number(number) => number.as_u64()?,
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    Some(now.after(Duration::from_secs(seconds.min(LIFETIME_SECONDS_MAX))))
}

fn end(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => match number.as_u64()? {
            seconds @ 0..=SECONDS_MAX => Some(Timestamp::from_millis(seconds.saturating_mul(1000))),
            millis => Some(Timestamp::from_millis(millis)),
        },
        _ => None,
    }
}

/// `a=b&c=d`, which some token endpoints answer with.
fn in_form<'r>(text: &str, rules: &'r [MintRule], now: Timestamp) -> Result<Places<'r>, Unsafe> {
    let mut places = Places::default();
    let mut at = 0_usize;
    for pair in text.split('&') {
        let from = at;
        at = at.saturating_add(pair.len()).saturating_add(1);
        let (name, value) = pair.split_once('=').ok_or(UNREAD)?;
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"<>{}\"\\".contains(&byte);
        if name.is_empty() || !pair.trim_end().bytes().all(plain) {
            return Err(UNREAD);
        }
        let decode = |text: &str| {
            let spaced = text.replace('+', " ");
            percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
        };
        let name_read = decode(name);
        let value = value.trim_end();
        if LIFETIMES.contains(&name_read.as_str()) {
            places.until = places.until.max(lifetime(&Value::from(decode(value)), now));
        }
        let meant = |rule: &&MintRule| match &rule.at {
            MintedAt::Header(_) => false,
            MintedAt::Member(member) => *member == name_read,
            MintedAt::Pointer(pointer) => json::is_member(pointer, &name_read),
        };
        if let Some(rule) = rules.iter().find(meant) {
            let start = from.saturating_add(name.len()).saturating_add(1);
            places.found.push(Found {
                span: start..start.saturating_add(value.len()),
                secret: Secret::new(decode(value).into_bytes()),
                rule,
            });
        }
    }
    Ok(places)
}

/// Elements that hold nothing but text. A name of a rule anywhere else than in such an element is refused.
fn in_xml<'r>(text: &str, rules: &'r [MintRule]) -> Result<Places<'r>, Unsafe> {
    const ODD: Unsafe = Unsafe::Unkept("its XML is not as simple as it has to be");
    let mut places = Places::default();
    if rules
        .iter()
        .any(|rule| matches!(rule.at, MintedAt::Pointer(_)))
    {
        return Err(Unsafe::Minting("its rules are for JSON, and it is XML"));
    }
    if ["<!", "]]>", "&#"].iter().any(|odd| text.contains(odd)) {
        return Err(Unsafe::Minting("it is no simple XML"));
    }
    let named = |rule: &'r MintRule| match rule.at {
        MintedAt::Member(name) => Some((name, rule)),
        MintedAt::Header(_) | MintedAt::Pointer(_) => None,
    };
    for (name, rule) in rules.iter().filter_map(named) {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let opened: Vec<usize> = text.match_indices(&open).map(|(at, _)| at).collect();
        // SECURITY: written with a prefix, attributes or spaces it would not be found.
        if text.matches(name).count() != opened.len().saturating_mul(2) {
            return Err(ODD);
        }
        for at in opened {
            let start = at.saturating_add(open.len());
            let rest = text.get(start..).ok_or(ODD)?;
            let length = rest.find('<').ok_or(ODD)?;
            let (inside, behind) = rest.split_at_checked(length).ok_or(ODD)?;
            if !behind.starts_with(&close) {
                return Err(ODD);
            }
            let from = start.saturating_add(inside.len() - inside.trim_start().len());
            let trimmed = inside.trim();
            places.found.push(Found {
                span: from..from.saturating_add(trimmed.len()),
                secret: Secret::new(unescaped(trimmed).ok_or(ODD)?.into_bytes()),
                rule,
            });
        }
    }
    let end = ENDS.iter().find_map(|name| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split('<').next()?.trim().parse().ok()
    });
    places.until = end;
    Ok(places)
}

/// Text without the five entities that XML has by itself; `None` when there is another one.
fn unescaped(text: &str) -> Option<String> {
    const ENTITIES: [(&str, char); 5] = [
        ("&amp;", '&'),
        ("&lt;", '<'),
        ("&gt;", '>'),
        ("&quot;", '"'),
        ("&apos;", '\''),
    ];
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, _)) = rest.split_once('&') {
        out.push_str(before);
        let entity = rest.get(before.len()..)?;
        let (name, character) = ENTITIES.iter().find(|(name, _)| entity.starts_with(name))?;
        out.push(*character);
        rest = entity.get(name.len()..)?;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use exeat_types::Origin;

    use exeat_types::MintForm;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    #[track_caller]
    #[expect(
        clippy::disallowed_methods,
        reason = "the test compares what was found"
    )]
    fn check(form: MintForm, body: &str, expect: Option<(&[&str], Option<u64>)>) {
        let here = Origin::parse("https://issuer.test").unwrap();
        let rules = MintRule::known(form, &[], &here);
        let places = find(body.as_bytes(), &rules, NOW).ok();
        let found = places.map(|places| {
            let texts: Vec<String> = places
                .found
                .iter()
                .map(|one| String::from_utf8(one.secret.open().to_vec()).unwrap())
                .collect();
            (texts, places.until.map(Timestamp::millis))
        });
        let expect =
            expect.map(|(texts, until)| (texts.iter().map(ToString::to_string).collect(), until));
        assert_eq!(found, expect, "{body}");
    }

    #[test]
    fn tokens_are_found_in_json_however_deep() {
        use MintForm::{Github, Oauth, Registry, Sts};
        check(
            Oauth,
            r#"{"access_token":"CANARY-1","expires_in":60,"x":[{"refresh_token":"CANARY\u002d2"}]}"#,
            Some((&["CANARY-1", "CANARY-2"], Some(1_060_000))),
        );
        check(
            Oauth,
            r#"{"accessToken":"a","expiresIn":"60"}"#,
            Some((&["a"], Some(1_060_000))),
        );
        check(Oauth, r#"{"error":"invalid_grant"}"#, Some((&[], None)));
        check(Oauth, r#"{"access_token":null}"#, Some((&[], None)));
        check(Oauth, " \n", Some((&[], None)));
        check(
            Github,
            r#"{"token":"ghs_CANARY","expires_at":"1970-01-01T01:00:00Z"}"#,
            Some((&["ghs_CANARY"], Some(3_600_000))),
        );
        check(
            Registry,
            r#"{"token":"t","access_token":"t2"}"#,
            Some((&["t", "t2"], None)),
        );
        check(
            Sts,
            r#"{"roleCredentials":{"accessKeyId":"A","secretAccessKey":"S","sessionToken":"T","expiration":1600000000000}}"#,
            Some((&["A", "S", "T"], Some(1_600_000_000_000))),
        );
        for wrong in [
            r#"{"access_token":"a","access_token":"b"}"#,
            r#"{"access_token":{"value":"a"}}"#,
            r#"{"access_token":["a"]}"#,
            r#"{"access_token":1}"#,
            r#"{"access_token":"a""#,
            r#"{"access_token":"\ud800"}"#,
            "access_token: a",
            "plain text",
        ] {
            check(Oauth, wrong, None);
        }
    }

    #[test]
    fn tokens_are_found_in_forms() {
        check(
            MintForm::Oauth,
            "access_token=gho%5FCANARY&scope=repo%2Cgist&token_type=bearer&expires_in=5",
            Some((&["gho_CANARY"], Some(1_005_000))),
        );
        check(MintForm::Oauth, "error=bad", Some((&[], None)));
        check(MintForm::Oauth, "access_token=a&b", None);
        check(MintForm::Oauth, "access_token=a b", None);
    }

    #[test]
    fn keys_are_found_in_xml_that_is_simple() {
        let answer = "<?xml version=\"1.0\"?>\n<R xmlns=\"x\"><Credentials><AccessKeyId>ASIA1</AccessKeyId>\
            <SecretAccessKey> a&amp;b </SecretAccessKey><SessionToken>t/+=</SessionToken>\
            <Expiration>1970-01-01T01:00:00Z</Expiration></Credentials></R>";
        check(
            MintForm::Sts,
            answer,
            Some((&["ASIA1", "a&b", "t/+="], Some(3_600_000))),
        );
        check(
            MintForm::Sts,
            "<Error><Code>Denied</Code></Error>",
            Some((&[], None)),
        );
        for (was, odd) in [
            ("<SecretAccessKey> ", "<SecretAccessKey x=\"y\"> "),
            ("<SecretAccessKey> ", "<a:SecretAccessKey> "),
            ("<SecretAccessKey> ", "<SecretAccessKey >"),
            ("a&amp;b", "a&other;b"),
            ("a&amp;b", "a&#38;b"),
            ("a&amp;b", "<![CDATA[a]]>"),
            ("a&amp;b", "<x/>a"),
            ("ASIA1", "ASIA1<!-- -->"),
        ] {
            check(MintForm::Sts, &answer.replace(was, odd), None);
        }
    }
}
