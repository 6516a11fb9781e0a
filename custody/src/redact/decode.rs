//! Content codings before redaction (RFC 9110 section 8.4): a body is decoded as it streams, and never encoded again.
//!
//! Owns the choice of decoders and the bound on how far content may grow. It must never let through a coding that it does
//! not know, content that is not what its coding says, or a bomb. Memory is one block per coding, whatever the input does.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use exeat_types::limits::{DECODE_FREE_BYTES, DECODE_RATIO_MAX};
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, Operation as _};

use super::{Unsafe, gzip::Gzip};

/// Undoes the codings of one body.
pub(super) struct Decoder {
    /// In the order in which they are undone.
    stages: Vec<Stage>,
    /// Bytes as they came.
    wire_bytes: u64,
}

/// Where decoded bytes go.
type Sink<'a> = dyn FnMut(&[u8]) -> Result<(), Unsafe> + 'a;

/// Most codings that may be stacked.
const CODINGS_MAX: usize = 3;
/// Decoded bytes that are handed on at a time.
const BLOCK_BYTES: usize = 16 * 1024;
/// RFC 9659: a window above 8 MiB must not be used as a content coding.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

impl Decoder {
    /// A decoder for a body under `content_encoding` (the header's value; several lines joined by commas).
    pub(super) fn new(content_encoding: Option<&str>) -> Result<Self, Unsafe> {
        let named = content_encoding
            .unwrap_or_default()
            .split(',')
            .map(str::trim);
        let coded = |name: &&str| !name.is_empty() && !name.eq_ignore_ascii_case("identity");
        let stages: Vec<Stage> = named
            .rev()
            .filter(coded)
            .map(Stage::new)
            .collect::<Result<_, _>>()?;
        if stages.len() > CODINGS_MAX {
            return Err(Unsafe::StackedCodings(CODINGS_MAX));
        }
        Ok(Self {
            stages,
            wire_bytes: 0,
        })
    }

    /// Whether there is anything to undo.
    pub(super) fn is_decoding(&self) -> bool {
        !self.stages.is_empty()
    }

    /// Takes the next chunk as it came and hands on what it holds.
    pub(super) fn push(&mut self, chunk: &[u8], sink: &mut Sink<'_>) -> Result<(), Unsafe> {
        self.wire_bytes = self
            .wire_bytes
            .saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        run(&mut self.stages, chunk, (self.wire_bytes, sink))
    }

    /// Whether the body may end here.
    pub(super) fn finish(&self) -> Result<(), Unsafe> {
        let incomplete = self.stages.iter().find(|stage| !stage.coding.is_complete());
        match incomplete {
            Some(stage) if self.wire_bytes > 0 => Err(Unsafe::Truncated(stage.coding.name())),
            Some(_) | None => Ok(()),
        }
    }
}

/// What one step of a decoder did.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// Input bytes that were used.
    pub(super) taken: usize,
    /// Output bytes that were written.
    pub(super) made: usize,
}

struct Stage {
    coding: Coding,
    made_bytes: u64,
    block: Box<[u8]>,
}

enum Coding {
    Gzip(Box<Gzip>),
    Deflate(Deflate),
    Brotli(Box<Brotli>),
    Zstd(Zstd),
}

impl Stage {
    fn new(name: &str) -> Result<Self, Unsafe> {
        let coding = match name.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Coding::Gzip(Box::new(Gzip::new())),
            "deflate" => Coding::Deflate(Deflate::Undecided(Vec::new())),
            "br" => Coding::Brotli(Box::new(Brotli::new())),
            "zstd" => Coding::Zstd(Zstd::new()?),
            _ => return Err(Unsafe::UnknownCoding(name.chars().take(32).collect())),
        };
        Ok(Self {
            coding,
            made_bytes: 0,
            block: vec![0; BLOCK_BYTES].into_boxed_slice(),
        })
    }
}

/// Passes input through the first stage and what it makes through the others, block by block.
fn run(
    stages: &mut [Stage],
    mut input: &[u8],
    (wire_bytes, sink): (u64, &mut Sink<'_>),
) -> Result<(), Unsafe> {
    let Some((stage, others)) = stages.split_first_mut() else {
        return sink(input);
    };
    loop {
        let Step { taken, made } = stage.coding.step(input, &mut stage.block)?;
        input = input.get(taken..).unwrap_or_default();
        stage.made_bytes = stage
            .made_bytes
            .saturating_add(u64::try_from(made).unwrap_or(u64::MAX));
        if stage.made_bytes > DECODE_FREE_BYTES.max(wire_bytes.saturating_mul(DECODE_RATIO_MAX)) {
            return Err(Unsafe::Expanding(stage.coding.name()));
        }
        let block = stage.block.get(..made).unwrap_or_default();
        run(others, block, (wire_bytes, &mut *sink))?;
        if input.is_empty() && made < BLOCK_BYTES {
            return Ok(());
        }
        if taken == 0 && made == 0 {
            return Err(Unsafe::Corrupt(stage.coding.name()));
        }
    }
}

impl Coding {
    fn name(&self) -> &'static str {
        match self {
            Self::Gzip(_) => "gzip",
            Self::Deflate(_) => "deflate",
            Self::Brotli(_) => "br",
            Self::Zstd(_) => "zstd",
        }
    }

    fn step(&mut self, input: &[u8], block: &mut [u8]) -> Result<Step, Unsafe> {
        match self {
            Self::Gzip(gzip) => gzip.step(input, block),
            Self::Deflate(deflate) => deflate.step(input, block),
            Self::Brotli(brotli) => brotli.step(input, block),
            Self::Zstd(zstd) => zstd.step(input, block),
        }
    }

    fn is_complete(&self) -> bool {
        match self {
            Self::Gzip(gzip) => gzip.is_complete(),
            Self::Deflate(deflate) => matches!(deflate, Deflate::Ended),
            Self::Brotli(brotli) => brotli.ended,
            Self::Zstd(zstd) => zstd.at_frame_end,
        }
    }
}

/// Runs an inflater once; says too whether its stream ended.
pub(super) fn inflate(
    inflater: &mut Decompress,
    input: &[u8],
    block: &mut [u8],
    flush: FlushDecompress,
    name: &'static str,
) -> Result<(Step, bool), Unsafe> {
    let before = (inflater.total_in(), inflater.total_out());
    let Ok(status) = inflater.decompress(input, block, flush) else {
        return Err(Unsafe::Corrupt(name));
    };
    let since =
        |total: u64, before: u64| usize::try_from(total.saturating_sub(before)).unwrap_or(0);
    let taken = since(inflater.total_in(), before.0);
    let made = since(inflater.total_out(), before.1);
    Ok((Step { taken, made }, matches!(status, Status::StreamEnd)))
}

/// The coding `deflate`: zlib (RFC 1950) by the standard, raw deflate (RFC 1951) by many servers.
enum Deflate {
    /// The first bytes, which tell one from the other.
    Undecided(Vec<u8>),
    Running(Box<Decompress>),
    Ended,
}

impl Deflate {
    fn step(&mut self, input: &[u8], block: &mut [u8]) -> Result<Step, Unsafe> {
        match self {
            Self::Undecided(first) => {
                let taken = input.len().min(2usize.saturating_sub(first.len()));
                first.extend_from_slice(input.get(..taken).unwrap_or_default());
                let [low, high] = *first.as_slice() else {
                    return Ok(Step { taken, made: 0 });
                };
                // RFC 1950 section 2.2: method 8, and the two bytes are a multiple of 31.
                let zlib = low & 15 == 8 && u16::from_be_bytes([low, high]).is_multiple_of(31);
                let mut inflater = Box::new(Decompress::new(zlib));
                let begun = inflate(
                    &mut inflater,
                    &[low, high],
                    block,
                    FlushDecompress::None,
                    "deflate",
                )?;
                let (Step { taken: used, made }, ended) = begun;
                if used != 2 {
                    return Err(Unsafe::Corrupt("deflate"));
                }
                *self = if ended {
                    Self::Ended
                } else {
                    Self::Running(inflater)
                };
                Ok(Step { taken, made })
            }
            Self::Running(inflater) => {
                let (step, ended) =
                    inflate(inflater, input, block, FlushDecompress::None, "deflate")?;
                if ended {
                    *self = Self::Ended;
                }
                Ok(step)
            }
            Self::Ended if input.is_empty() => Ok(Step { taken: 0, made: 0 }),
            Self::Ended => Err(Unsafe::Corrupt("deflate")),
        }
    }
}

struct Brotli {
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    ended: bool,
}

impl Brotli {
    fn new() -> Self {
        let alloc = StandardAlloc::default;
        // RFC 7932: no large windows, so at most 16 MiB.
        Self {
            state: BrotliState::new_strict(alloc(), alloc(), alloc()),
            ended: false,
        }
    }

    fn step(&mut self, input: &[u8], block: &mut [u8]) -> Result<Step, Unsafe> {
        if self.ended {
            let nothing = Step { taken: 0, made: 0 };
            return if input.is_empty() {
                Ok(nothing)
            } else {
                Err(Unsafe::Corrupt("br"))
            };
        }
        let (mut input_left, mut taken) = (input.len(), 0);
        let (mut room, mut made, mut total) = (block.len(), 0, 0);
        let result = BrotliDecompressStream(
            &mut input_left,
            &mut taken,
            input,
            &mut room,
            &mut made,
            block,
            &mut total,
            &mut self.state,
        );
        match result {
            BrotliResult::ResultSuccess => self.ended = true,
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
            BrotliResult::ResultFailure => return Err(Unsafe::Corrupt("br")),
        }
        Ok(Step { taken, made })
    }
}

struct Zstd {
    decoder: ZstdDecoder<'static>,
    at_frame_end: bool,
}

impl Zstd {
    fn new() -> Result<Self, Unsafe> {
        let unusable = |_| Unsafe::Corrupt("zstd");
        let mut decoder = ZstdDecoder::new().map_err(unusable)?;
        decoder
            .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))
            .map_err(unusable)?;
        Ok(Self {
            decoder,
            at_frame_end: false,
        })
    }

    fn step(&mut self, input: &[u8], block: &mut [u8]) -> Result<Step, Unsafe> {
        let status = self.decoder.run_on_buffers(input, block);
        let Ok(status) = status else {
            return Err(Unsafe::Corrupt("zstd"));
        };
        if status.bytes_read > 0 || status.bytes_written > 0 {
            self.at_frame_end = status.remaining == 0;
        }
        Ok(Step {
            taken: status.bytes_read,
            made: status.bytes_written,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, sync::Arc};

    use exeat_types::Secret;
    use flate2::{Compression, write};

    use super::*;
    use crate::redact::{BodyScrubber, Patterns};

    fn patterns() -> Arc<Patterns> {
        let secret = Secret::new(b"CANARY-decode-0001".to_vec());
        Arc::new(Patterns::compile(&[("github", &secret)], &[]).unwrap())
    }

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::GzBuilder::new()
            .filename("name")
            .comment("comment")
            .extra(vec![1, 2, 3])
            .write(Vec::new(), Compression::new(6));
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(plain: &[u8]) -> Vec<u8> {
        let mut encoder = write::ZlibEncoder::new(Vec::new(), Compression::new(6));
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(plain: &[u8]) -> Vec<u8> {
        let mut encoder = write::DeflateEncoder::new(Vec::new(), Compression::new(6));
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(plain: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(plain, 3).unwrap()
    }

    /// RFC 7932 section 9.2: uncompressed meta-blocks of a window of 16 bits, then an empty last one.
    fn brotli(plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for (place, chunk) in plain.chunks(60_000).enumerate() {
            // first byte: WBITS = 0 (one bit); then ISLAST = 0, MNIBBLES = 0 (4), MLEN - 1, ISUNCOMPRESSED = 1.
            let length = u32::try_from(chunk.len() - 1).unwrap();
            let (mut bits, mut count) = (length << 3, 20);
            if place == 0 {
                (bits, count) = (bits << 1, count + 1);
            }
            let word = bits | 1 << (count - 1);
            out.extend(&word.to_le_bytes()[..3]);
            out.extend(chunk);
        }
        out.push(3);
        out
    }

    fn scrub(coding: &str, body: &[u8], size: usize) -> Result<Vec<u8>, Unsafe> {
        let mut scrubber = BodyScrubber::new(patterns(), Some(coding))?;
        let mut out = Vec::new();
        for chunk in body.chunks(size) {
            scrubber.push(chunk, &mut out)?;
        }
        scrubber.finish(&mut out)?;
        Ok(out)
    }

    type Encode = fn(&[u8]) -> Vec<u8>;

    const CODINGS: [(&str, Encode); 9] = [
        ("gzip", gzip),
        ("X-GZip", gzip),
        ("deflate", zlib),
        ("deflate", deflate),
        ("zstd", zstd),
        ("br", brotli),
        ("gzip, br", |plain| brotli(&gzip(plain))),
        ("zstd,gzip , deflate", |plain| zlib(&gzip(&zstd(plain)))),
        ("identity", <[u8]>::to_vec),
    ];

    #[test]
    fn every_coding_is_decoded_and_redacted_in_chunks_of_any_size() {
        let line = "some text with CANARY-decode-0001 in it, again and again\n";
        let clean = line
            .replace("CANARY-decode-0001", "[redacted:github]")
            .repeat(900);
        let plain = line.repeat(900);
        for (coding, encode) in CODINGS {
            let body = encode(plain.as_bytes());
            for size in [1, 3, 100, 1 << 20] {
                let out = scrub(coding, &body, size).unwrap();
                assert!(out == clean.as_bytes(), "{coding} in chunks of {size}");
            }
        }
    }

    #[test]
    fn content_that_ends_early_is_refused_wherever_it_ends() {
        let plain = b"CANARY-decode-0001 and some more text that follows".repeat(3);
        for (coding, encode) in CODINGS.into_iter().filter(|(name, _)| *name != "identity") {
            let body = encode(&plain);
            for length in 1..body.len() {
                assert!(
                    scrub(coding, &body[..length], 7).is_err(),
                    "{coding} {length}"
                );
            }
            assert_eq!(scrub(coding, &[], 7), Ok(Vec::new()));
        }
    }

    #[test]
    fn members_and_frames_may_follow_one_another_but_nothing_else_may() {
        let (one, two) = (&b"CANARY-dec"[..], &b"ode-0001!"[..]);
        let expected = b"[redacted:github]!".to_vec();
        assert_eq!(
            scrub("gzip", &[gzip(one), gzip(two)].concat(), 5),
            Ok(expected.clone())
        );
        assert_eq!(
            scrub("zstd", &[zstd(one), zstd(two)].concat(), 5),
            Ok(expected)
        );
        for (coding, encode) in CODINGS.into_iter().filter(|(name, _)| *name != "identity") {
            let body = [encode(one), b"garbage".to_vec()].concat();
            assert!(scrub(coding, &body, 1000).is_err(), "{coding}");
        }
    }

    #[test]
    fn compressed_brotli_is_decoded() {
        // What the reference encoder makes of three of these lines.
        let body = "1baa0020ac8e77d0f9995927e2f05c0a8a8e50e93d44569626614062124481a59ca4b22528abdce860030ed84b2\
            dd7c1e9bc8456a9c09ce8116330259d810d37df63a8b35a";
        let digits: Vec<char> = body.chars().filter(|c| c.is_ascii_hexdigit()).collect();
        let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
        let body: Vec<u8> = digits.chunks(2).map(byte).collect();
        let clean = "some text with [redacted:github] in it, again and again\n".repeat(3);
        assert_eq!(scrub("br", &body, 10), Ok(clean.into_bytes()));
    }

    #[test]
    fn a_changed_check_sum_is_refused() {
        let mut body = gzip(b"some text");
        *body.iter_mut().rev().nth(5).unwrap() ^= 1;
        assert_eq!(scrub("gzip", &body, 1000), Err(Unsafe::Corrupt("gzip")));
    }

    #[test]
    fn a_bomb_is_refused_and_stays_refused() {
        let zeros = vec![0; 8 << 20];
        let cases = [("gzip", gzip(&zeros)), ("zstd", zstd(&zeros))];
        for (coding, body) in cases {
            let mut scrubber = BodyScrubber::new(patterns(), Some(coding)).unwrap();
            let mut out = Vec::new();
            let cut = body
                .chunks(100)
                .find_map(|chunk| scrubber.push(chunk, &mut out).err());
            assert_eq!(cut, Some(Unsafe::Expanding(coding)));
            assert_eq!(scrubber.push(b"", &mut out).err(), cut);
            assert_eq!(scrubber.finish(&mut out).err(), cut);
            assert!(out.len() < zeros.len());
        }
        assert_eq!(
            scrub("gzip, gzip", &gzip(&gzip(&zeros)), 1000),
            Err(Unsafe::Expanding("gzip"))
        );
    }

    #[test]
    fn unknown_and_too_many_codings_are_refused() {
        let refused = |coding| BodyScrubber::new(patterns(), Some(coding)).err();
        assert_eq!(
            refused("compress"),
            Some(Unsafe::UnknownCoding("compress".to_owned()))
        );
        assert_eq!(
            refused("gzip, aes128gcm"),
            Some(Unsafe::UnknownCoding("aes128gcm".to_owned()))
        );
        assert_eq!(
            refused("gzip,gzip,gzip,gzip"),
            Some(Unsafe::StackedCodings(3))
        );
        assert_eq!(refused(" , identity"), None);
    }
}
