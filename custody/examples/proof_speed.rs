//! What a proof of possession costs beside the one signature that it is made of: ES256, with a nonce and a token.
//!
//! `cargo run --release -p exeat-custody --example proof_speed`

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measurement reads the clock and prints"
)]

use std::{hint::black_box, sync::Arc, time::Instant};

use exeat_custody::{
    SoftwareSigner,
    dpop::{Proof, proof},
};
use exeat_types::{Algorithm, Origin, Secret, Signer, Timestamp};
use http::Method;

const ROUNDS: usize = 7;
const TIMES: u32 = 4_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let key = SoftwareSigner::new_key(Algorithm::Es256)?;
    let signer: Arc<dyn Signer> = Arc::new(SoftwareSigner::from_key(&key)?);
    let token = Secret::new(b"Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU".to_vec());
    let origin = Origin::parse("https://resource.example.org")?;
    let of = Proof {
        signer: &signer,
        method: &Method::GET,
        origin: &origin,
        target: "/protectedresource?page=2",
        nonce: Some("eyJ7S_zG.eyJH0-Z.HX4w-7v"),
        token: Some(&token),
        now: Timestamp::from_millis(1_790_000_000_000),
    };
    // As long as what a proof signs.
    let message = [b'x'; 420];
    let (mut raw, mut whole) = (f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        raw = raw.min(micros(|| drop(black_box(signer.sign(black_box(&message))))));
        whole = whole.min(micros(|| drop(black_box(proof(black_box(&of))))));
    }
    println!(
        "one ES256 signature {raw:.1} us, a proof {whole:.1} us: {:.2} times",
        whole / raw
    );
    Ok(())
}

/// The time of one call, in microseconds.
fn micros(mut what: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..TIMES {
        what();
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES)
}
