//! What the credential costs on the road: a request of an ordinary client, prepared with a bearer that is at hand; and what
//! it costs to have one more token looked for in responses.
//!
//! Run it with `--release`; it measures on a machine that may be busy. It owns nothing and is no test.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement prints and reads the time"
)]

use std::{hint::black_box, sync::Arc, time::Instant};

use exeat_custody::{
    Ask, CredentialSpec, Custody, Kind, Live, Loaded, Presented, SecretRef, Shape, Token,
};
use exeat_types::{AgentId, CredentialId, Origin, Secret, Timestamp};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

const SECRETS: usize = 1000;
const TOKENS: usize = 50;
/// Few at a time and often, so that the best time is one in which nobody else had the processor.
const ROUNDS: u32 = 1000;
const TRIES: usize = 400;
/// What a client of an API sends besides its key.
const HEADERS: [(&str, &str); 9] = [
    ("accept", "application/vnd.github+json"),
    ("accept-encoding", "identity"),
    ("user-agent", "octokit.js/4.0.2 node.js/20"),
    ("x-github-api-version", "2022-11-28"),
    ("content-type", "application/json; charset=utf-8"),
    (
        "traceparent",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ),
    ("accept-language", "en-US,en;q=0.9"),
    ("if-none-match", "W/\"0c1f6c0b1d2e3f405162738495a6b7c8\""),
    ("cache-control", "no-cache"),
];

fn main() {
    if let Err(problem) = measure() {
        println!("nothing was measured: {problem}");
    }
}

fn measure() -> Result<(), Box<dyn std::error::Error>> {
    let (agent, origin) = (
        AgentId::new("claude")?,
        Origin::parse("https://api.github.com")?,
    );
    let id = CredentialId::new("c0")?;
    let mut loaded = Vec::new();
    for number in 0..SECRETS {
        let spec = CredentialSpec {
            id: CredentialId::new(&format!("c{number}"))?,
            kind: Kind::Bearer,
            origins: vec![origin.clone()],
            secret: Some(SecretRef::Env("NONE".to_owned())),
            shape: Shape::Auto,
        };
        let secret = Secret::new(format!("ghp_{number:036}").into_bytes());
        loaded.push(Loaded::new(spec, secret, 1));
    }
    let live = Live::new()?;
    let start = Instant::now();
    let built = Custody::build(
        loaded,
        std::slice::from_ref(&agent),
        &Secret::new(vec![3; 32]),
        &live,
    );
    let custody = built.map_err(|problems| format!("{} problems", problems.len()))?;
    println!("custody of {SECRETS} secrets: {:.1?}", start.elapsed());
    cost_of_preparing(&custody, (&agent, &origin, &id))?;
    for (name, length) in [
        ("opaque tokens of 40 bytes", 40),
        ("opaque tokens of 1 KiB", 1024),
    ] {
        let live = Live::new()?;
        let mut last = Instant::now().elapsed();
        for number in 0..TOKENS {
            let text = format!("{number:02}{}", "x9-".repeat(length)).into_bytes();
            let token = Arc::new(Token {
                secret: Secret::new(text.into_iter().take(length).collect()),
                presented: Presented::Bearer,
                expires: None,
                obtained: Timestamp::from_millis(0),
                scopes: Vec::new(),
                bound: None,
            });
            let start = Instant::now();
            live.hold("token", &token, Timestamp::from_millis(0))?;
            last = start.elapsed();
        }
        println!("the {TOKENS}th of {name}: {last:.1?}");
    }
    Ok(())
}

fn cost_of_preparing(
    custody: &Custody,
    (agent, origin, id): (&AgentId, &Origin, &CredentialId),
) -> Result<(), Box<dyn std::error::Error>> {
    let mut headers = HeaderMap::new();
    for (name, value) in HEADERS {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    let placeholder = custody.placeholder(agent, id).unwrap_or_default();
    let presented = HeaderValue::from_str(&format!("Bearer {placeholder}"))?;
    for (name, presented) in [
        ("no placeholder", None),
        ("its placeholder", Some(presented)),
    ] {
        let mut headers = headers.clone();
        headers.extend(presented.map(|value| (http::header::AUTHORIZATION, value)));
        let ask = Ask {
            agent,
            origin,
            path: "/repos/acme/site/issues",
            query: Some("per_page=100&state=open"),
            headers: &headers,
            body: None,
            method: &Method::GET,
            credential: Some(id),
            others: &[],
            token: None,
            slots: &[],
            now: Timestamp::from_millis(0),
        };
        let mut best = f64::INFINITY;
        for _ in 0..TRIES {
            let start = Instant::now();
            for _ in 0..ROUNDS {
                black_box(custody.prepare(black_box(&ask)).is_ok());
            }
            best = best.min(start.elapsed().as_secs_f64() / f64::from(ROUNDS));
        }
        println!("one request with {name}, prepared: {:.0} ns", best * 1e9);
    }
    Ok(())
}
