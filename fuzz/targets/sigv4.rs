//! SigV4: whatever an agent sends as a signature is signed anew with its one key, or refused; chunks keep their length.
#![cfg_attr(fuzzing, no_main)]

use std::sync::{Arc, OnceLock};

use exeat_custody::{
    Ask, CredentialSpec, Custody, Draft, DraftBody, Kind, Live, Loaded, Shape, SigV4,
};
use exeat_types::{AgentId, CredentialId, Origin, Secret, Timestamp};
use http::{HeaderMap, HeaderValue, Method, header};

const SECRET: &str = "CANARY-fuzz-sigv4-0001";

struct Ground {
    custody: Custody,
    agent: AgentId,
    credential: CredentialId,
    origin: Origin,
}

/// Query, Authorization and the stated hash, each on its own line; the rest is the body, whose first byte says where it is
/// cut in two.
#[expect(clippy::too_many_lines, reason = "one request, told from its bytes")]
pub(crate) fn run(bytes: &[u8]) {
    static GROUND: OnceLock<Option<Ground>> = OnceLock::new();
    let ground = GROUND.get_or_init(ground);
    assert!(ground.is_some(), "the credential is not accepted");
    let Some(ground) = ground else { return };
    let mut lines = bytes.splitn(4, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (query, own, hash, body) = (line(), line(), line(), line());
    let Ok(query) = std::str::from_utf8(query) else {
        return;
    };
    let mut headers = HeaderMap::new();
    let hash_name = header::HeaderName::from_static("x-amz-content-sha256");
    for (name, value) in [(header::AUTHORIZATION, own), (hash_name, hash)] {
        let Ok(value) = HeaderValue::from_bytes(value) else {
            return;
        };
        if !value.is_empty() {
            headers.insert(name, value);
        }
    }
    let ask = Ask {
        agent: &ground.agent,
        origin: &ground.origin,
        path: "/bucket/key",
        query: Some(query).filter(|query| !query.is_empty()),
        headers: &headers,
        body: None,
        method: &Method::PUT,
        token: None,
        credential: Some(&ground.credential),
        others: &[],
        slots: &[],
        now: Timestamp::from_millis(1_800_000_000_000),
    };
    let Ok(prepared) = ground.custody.prepare(&ask) else {
        return;
    };
    let mut sent = headers.clone();
    for (name, value) in prepared.headers {
        sent.remove(&name);
        sent.extend(value.map(|value| (name, value)));
    }
    let kept = match prepared.query {
        Some(changed) => changed.unwrap_or_default(),
        None => query.to_owned(),
    };
    let mut target = format!("/bucket/key?{kept}");
    let Some(finish) = prepared.finish else {
        return;
    };
    let mut draft = Draft {
        method: &Method::PUT,
        origin: &ground.origin,
        target: &mut target,
        headers: &mut sent,
        body: DraftBody::Streamed,
        now: ask.now,
    };
    if finish.finish(&mut draft).is_err() {
        return;
    }
    let signed = sent.contains_key(header::AUTHORIZATION);
    let presigned = target
        .split(['?', '&'])
        .any(|pair| pair.starts_with("X-Amz-Signature="));
    assert!(signed != presigned, "{target}");
    assert!(query.contains(SECRET) || !target.contains(SECRET));
    let Some(mut change) = finish.body() else {
        return;
    };
    let cut = usize::from(body.first().copied().unwrap_or_default()).min(body.len());
    let (first, rest) = body.split_at(cut);
    let (Ok(first), Ok(rest)) = (
        change.push(first, exeat_custody::Last::No),
        change.push(rest, exeat_custody::Last::Yes),
    ) else {
        return;
    };
    assert_eq!(first.len().saturating_add(rest.len()), body.len());
}

fn ground() -> Option<Ground> {
    let agent = AgentId::new("claude").ok()?;
    let credential = CredentialId::new("aws").ok()?;
    let origin = Origin::parse("https://s3.eu-west-1.amazonaws.com").ok()?;
    let kind = SigV4 {
        access_key_id: Some("AKIDFUZZ".to_owned()),
        services: vec!["s3".to_owned()],
        regions: vec!["eu-west-1".to_owned()],
    };
    let spec = CredentialSpec {
        id: credential.clone(),
        kind: Kind::Made(Arc::new(kind)),
        origins: vec![origin.clone()],
        secret: Some("sealed:aws".parse().ok()?),
        shape: Shape::Generic,
    };
    let secret = Secret::new(SECRET.as_bytes().to_vec());
    let key = Secret::new(b"CANARY-fuzz-placeholder-key-0001".to_vec());
    let agents = std::slice::from_ref(&agent);
    let loaded = vec![Loaded::new(spec, secret, 1)];
    let custody = Custody::build(loaded, agents, &key, &Live::new().ok()?).ok()?;
    Some(Ground {
        custody,
        agent,
        credential,
        origin,
    })
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
