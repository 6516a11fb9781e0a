//! How fast redaction is: a thousand secrets in every encoding, over 4 MiB of JSON, against `memchr` over the same bytes.
//!
//! Run it with `--release`; it measures this thread's time on a machine that may be busy, so the ratio says more than the
//! number. It owns nothing and is no test.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement prints and reads the time"
)]

use std::{fmt::Write as _, hint::black_box, sync::Arc, time::Instant};

use exeat_custody::redact::{
    Formats, Hidden, Looking, Patterns, PiiKind, Stream, Text, TextRules, Written,
};
use exeat_types::Secret;

const CORPUS_BYTES: usize = 4 << 20;
const SECRETS: usize = 1000;
const ROUNDS: usize = 9;

fn main() {
    let mut noise = Noise(42);
    let secrets: Vec<(String, Secret)> = (0..SECRETS).map(|n| secret(n, &mut noise)).collect();
    let named: Vec<(&str, &Secret)> = secrets.iter().map(|(n, s)| (n.as_str(), s)).collect();
    let start = Instant::now();
    let Ok(patterns) = Patterns::compile(&named, &[]) else {
        return println!("the secrets did not compile");
    };
    println!("compiled {SECRETS} secrets in {:.1?}", start.elapsed());
    let patterns = Arc::new(patterns);
    let plain = corpus(&mut noise, "");
    let escaped = corpus(
        &mut noise,
        r#" a \"quoted\" line\nand a link https:\/\/a.test\/b?c=%2Fd&amp;e"#,
    );
    let base = speed("memchr", &plain, |text| {
        black_box(memchr::memchr(1, text));
    });
    for (name, text, chunk) in [
        ("json, chunks of 16 KiB", &plain, 16 << 10),
        ("json, chunks of 256 B", &plain, 256),
        ("json full of escapes, chunks of 16 KiB", &escaped, 16 << 10),
    ] {
        let mut out = Vec::with_capacity(text.len());
        let ours = speed(name, text, |text| {
            out.clear();
            let mut stream = Stream::with_formats(Arc::clone(&patterns), Formats::Redact);
            for chunk in text.chunks(chunk) {
                stream.push(chunk, &mut out);
            }
            stream.finish(&mut out);
        });
        println!(
            "    {:.3} of memchr; unchanged: {}",
            ours / base,
            out == *text
        );
    }
    asked(&patterns, &plain, base);
}

/// What a tool may ask for besides secrets, each by itself and behind the search for secrets.
fn asked(patterns: &Arc<Patterns>, text: &[u8], base: f64) {
    let only = |pii: &[PiiKind], hidden, markers| TextRules {
        pii: pii.to_vec(),
        hidden,
        markers,
    };
    for (name, rules) in [
        (
            "secrets and cards",
            only(&[PiiKind::Card], Hidden::Keep, Looking::Off),
        ),
        (
            "secrets and all kinds of PII",
            only(&PiiKind::ALL, Hidden::Keep, Looking::Off),
        ),
        (
            "secrets and hidden text",
            only(&[], Hidden::Strip, Looking::Off),
        ),
        ("secrets and markers", only(&[], Hidden::Keep, Looking::On)),
    ] {
        let mut out = Vec::with_capacity(text.len());
        let ours = speed(name, text, |text| {
            out.clear();
            let asked = (&rules, Written::Json);
            let mut stage = Text::new(Arc::clone(patterns), Formats::Redact, asked);
            for chunk in text.chunks(16 << 10) {
                stage.push(chunk, &mut out);
            }
            stage.finish(&mut out);
        });
        println!("    {:.3} of memchr", ours / base);
    }
}

/// The best of several rounds in GB/s: what others take from this machine only adds time.
fn speed(name: &str, text: &[u8], mut run: impl FnMut(&[u8])) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        run(black_box(text));
        best = best.min(start.elapsed().as_secs_f64());
    }
    let size = u32::try_from(text.len()).map_or(f64::NAN, f64::from);
    let speed = size / best / 1e9;
    println!("{name}: {speed:.2} GB/s");
    speed
}

/// A small generator of pseudo-random numbers (xorshift), the same in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn letters(&mut self, count: usize) -> String {
        let digit = |value: u64| {
            u32::try_from(value % 36)
                .ok()
                .and_then(|d| char::from_digit(d, 36))
        };
        (0..count)
            .filter_map(|_| digit(self.next() >> 20))
            .collect()
    }
}

fn secret(number: usize, noise: &mut Noise) -> (String, Secret) {
    let text = match number % 4 {
        0 => format!("ghp_{}", noise.letters(36)),
        1 => format!("sk_live_{}", noise.letters(24)),
        2 => noise.letters(40),
        _ => format!(
            "{}/{}+{}",
            noise.letters(10),
            noise.letters(12),
            noise.letters(16)
        ),
    };
    (format!("c{number}"), Secret::new(text.into_bytes()))
}

fn corpus(noise: &mut Noise, extra: &str) -> Vec<u8> {
    let mut text = String::with_capacity(CORPUS_BYTES + 1024);
    while text.len() < CORPUS_BYTES {
        let (id, node, name, sha) = (
            noise.next() >> 40,
            noise.letters(20),
            noise.letters(6),
            noise.next(),
        );
        let line = writeln!(
            text,
            "{{\"id\":{id},\"node_id\":\"{node}\",\"name\":\"{name} service\",\"url\":\"https://api.example.com/repos/\
             acme/{name}/issues/{id}\",\"created_at\":\"2026-11-07T10:20:30Z\",\"body\":\"The quick brown fox jumps over the \
             lazy dog while processing order number {id} for the customer.{extra} Please retry later.\",\"state\":\"open\",\
             \"labels\":[\"bug\",\"triage\"],\"sha\":\"{sha:016x}{sha:016x}\"}},",
        );
        if line.is_err() {
            break;
        }
    }
    text.into_bytes()
}
