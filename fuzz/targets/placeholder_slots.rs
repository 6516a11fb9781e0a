//! Placeholders: a request leaves with the secret in its one slot, or it does not leave.
#![cfg_attr(fuzzing, no_main)]

use std::sync::OnceLock;

use bytes::Bytes;
use exeat_custody::{Ask, CredentialSpec, Custody, Kind, Live, Loaded, Shape, Slot};
use exeat_types::{AgentId, CredentialId, Origin, Secret, Timestamp};
use http::{HeaderMap, HeaderValue, header};

const SECRET: &str = "CANARY-fuzz-slots-0001";

struct Ground {
    custody: Custody,
    agent: AgentId,
    credential: CredentialId,
    origin: Origin,
    placeholder: String,
}

/// Path, query, Authorization, another header and the body, each on its own line; a byte 1 stands for the placeholder. Who
/// knows the secret already has nothing to gain.
pub(crate) fn run(bytes: &[u8]) {
    static GROUND: OnceLock<Option<Ground>> = OnceLock::new();
    let ground = GROUND.get_or_init(ground);
    assert!(ground.is_some(), "the credential is not accepted");
    let Some(ground) = ground else { return };
    let mut lines = bytes
        .splitn(5, |byte| *byte == b'\n')
        .map(|line| ground.written(line));
    let mut line = || lines.next().unwrap_or_default();
    let (path, query, own, other, body) = (line(), line(), line(), line(), line());
    if [&path, &query, &own, &other, &body]
        .into_iter()
        .any(|place| holds(place, SECRET))
    {
        return;
    }
    let (Ok(path), Ok(query)) = (String::from_utf8(path), String::from_utf8(query)) else {
        return;
    };
    let mut headers = HeaderMap::new();
    for (name, value) in [(header::AUTHORIZATION, &own), (header::REFERER, &other)] {
        let Ok(value) = HeaderValue::from_bytes(value) else {
            return;
        };
        headers.insert(name, value);
    }
    let body = Bytes::from(body);
    let ask = Ask {
        agent: &ground.agent,
        origin: &ground.origin,
        path: &path,
        query: Some(&query),
        headers: &headers,
        body: Some(&body),
        method: &http::Method::POST,
        others: &[],
        token: None,
        credential: Some(&ground.credential),
        slots: &[Slot::Body("/token".to_owned())],
        now: Timestamp::from_millis(0),
    };
    let Ok(prepared) = ground.custody.prepare(&ask) else {
        return;
    };
    let misplaced = [path.as_bytes(), query.as_bytes(), &other];
    assert!(
        !misplaced
            .into_iter()
            .any(|place| holds(place, &ground.placeholder))
    );
    let queried = prepared.query.flatten().unwrap_or(query);
    assert!(!holds(queried.as_bytes(), SECRET));
    let sent = prepared.body.unwrap_or(body);
    assert!(!holds(&sent, &ground.placeholder));
    let slots = prepared.headers.iter().filter(|(_, value)| {
        value
            .as_ref()
            .is_some_and(|value| holds(value.as_bytes(), SECRET))
    });
    assert!(
        slots
            .into_iter()
            .all(|(name, _)| name == header::AUTHORIZATION)
    );
}

impl Ground {
    fn written(&self, line: &[u8]) -> Vec<u8> {
        let replaced = |byte: &u8| match byte {
            1 => self.placeholder.as_bytes().to_vec(),
            byte => vec![*byte],
        };
        line.iter().flat_map(replaced).collect()
    }
}

fn ground() -> Option<Ground> {
    let agent = AgentId::new("claude").ok()?;
    let credential = CredentialId::new("shop").ok()?;
    let origin = Origin::parse("https://shop.example").ok()?;
    let spec = CredentialSpec {
        id: credential.clone(),
        kind: Kind::Bearer,
        origins: vec![origin.clone()],
        secret: Some("sealed:shop".parse().ok()?),
        shape: Shape::Generic,
    };
    let secret = Secret::new(SECRET.as_bytes().to_vec());
    let key = Secret::new(b"CANARY-fuzz-placeholder-key-0001".to_vec());
    let agents = std::slice::from_ref(&agent);
    let custody = Custody::build(
        vec![Loaded::new(spec, secret, 1)],
        agents,
        &key,
        &Live::new().ok()?,
    )
    .ok()?;
    let placeholder = custody.placeholder(&agent, &credential)?.to_owned();
    Some(Ground {
        custody,
        agent,
        credential,
        origin,
        placeholder,
    })
}

fn holds(place: &[u8], what: &str) -> bool {
    place
        .windows(what.len())
        .any(|window| window == what.as_bytes())
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
