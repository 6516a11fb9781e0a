//! What it costs to sign a request of an agent anew (SigV4), and a body in signed chunks.
//!
//! Run it with `--release`; it measures on a machine that may be busy. It owns nothing and is no test.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement prints and reads the time"
)]

use std::{hint::black_box, sync::Arc, time::Instant};

use exeat_custody::{
    Ask, CredentialSpec, Custody, Draft, DraftBody, Kind, Live, Loaded, SecretRef, Shape, SigV4,
};
use exeat_types::{AgentId, CredentialId, Origin, Secret, Timestamp};
use http::{HeaderMap, HeaderValue, Method, header::AUTHORIZATION};

const ROUNDS: u32 = 200;
const TRIES: usize = 50;
const CHUNK_BYTES: usize = 64 * 1024;

fn main() {
    if let Err(problem) = measure() {
        println!("nothing was measured: {problem}");
    }
}

/// What an SDK sends that signs with a placeholder, chunk by chunk.
fn agents_own(signature: &str) -> Result<HeaderMap, Box<dyn std::error::Error>> {
    let own = format!(
        "AWS4-HMAC-SHA256 Credential=AK/20260131/eu-west-1/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={signature}"
    );
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_str(&own)?);
    let word = HeaderValue::from_static("STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
    headers.insert("x-amz-content-sha256", word);
    Ok(headers)
}

fn measure() -> Result<(), Box<dyn std::error::Error>> {
    let (agent, id) = (AgentId::new("claude")?, CredentialId::new("aws")?);
    let origin = Origin::parse("https://s3.eu-west-1.amazonaws.com")?;
    let kind = SigV4 {
        access_key_id: Some("AKIDSPEED".to_owned()),
        services: vec!["s3".to_owned()],
        regions: vec!["eu-west-1".to_owned()],
    };
    let spec = CredentialSpec {
        id: id.clone(),
        kind: Kind::Made(Arc::new(kind)),
        origins: vec![origin.clone()],
        secret: Some(SecretRef::Env("NONE".to_owned())),
        shape: Shape::Auto,
    };
    let secret = Secret::new(b"CANARY-sigv4-speed-0001".to_vec());
    let key = Secret::new(b"CANARY-placeholder-key".to_vec());
    let live = Live::new()?;
    let loaded = vec![Loaded::new(spec, secret, 1)];
    let custody = Custody::build(loaded, std::slice::from_ref(&agent), &key, &live)
        .map_err(|problems| format!("{problems:?}"))?;
    let zeros = "0".repeat(64);
    let headers = agents_own(&zeros)?;
    let now = Timestamp::from_millis(1_800_000_000_000);
    let ask = Ask {
        agent: &agent,
        origin: &origin,
        path: "/bucket/some/object",
        query: None,
        headers: &headers,
        body: None,
        method: &Method::PUT,
        token: None,
        credential: Some(&id),
        others: &[],
        slots: &[],
        now,
    };
    let mut body = format!("{CHUNK_BYTES:x};chunk-signature={zeros}\r\n").into_bytes();
    body.resize(body.len().saturating_add(CHUNK_BYTES), b'x');
    body.extend_from_slice(b"\r\n");
    let (mut best_head, mut best_chunk) = (f64::MAX, f64::MAX);
    for _ in 0..TRIES {
        let (mut head, mut chunk) = (0.0, 0.0);
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let prepared = custody.prepare(&ask)?;
            let finish = prepared.finish.ok_or("it is not signed")?;
            let (mut sent, mut target) = (headers.clone(), ask.path.to_owned());
            finish.finish(&mut Draft {
                method: ask.method,
                origin: &origin,
                target: &mut target,
                headers: &mut sent,
                body: DraftBody::Streamed,
                now,
            })?;
            head += start.elapsed().as_secs_f64();
            let mut change = finish.body().ok_or("its body is not signed")?;
            let start = Instant::now();
            black_box(change.push(&body, exeat_custody::Last::No)?);
            chunk += start.elapsed().as_secs_f64();
        }
        best_head = head.min(best_head);
        best_chunk = chunk.min(best_chunk);
    }
    let micros = |seconds: f64| seconds / f64::from(ROUNDS) * 1e6;
    println!("a head, prepared and signed: {:.1} us", micros(best_head));
    println!("a chunk of 64 KiB: {:.1} us", micros(best_chunk));
    Ok(())
}
