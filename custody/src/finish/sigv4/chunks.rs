//! Bodies in signed chunks (`aws-chunked`): each chunk is signed anew, chained from the signature of the head.
//!
//! A chunk is held until it is whole, as its signature stands before it. Signatures are all of one length, so the length
//! of the body stays as its head promised. A body that is streamed under a stated hash is only compared with it.

use bytes::Bytes;
use exeat_types::Secret;
use ring::digest::{Context, SHA256, digest};

use super::stated::unsignable;
use crate::{BodyChange, Last, Refused, placeholder::hex};

/// The largest chunk. Clients send 64 KiB to 128 KiB.
const CHUNK_BYTES_MAX: usize = 1024 * 1024;
/// The longest line before a chunk: a size, `;chunk-signature=` and 64 digits.
const HEAD_BYTES_MAX: usize = 128;
/// The longest trailer.
const TRAILER_BYTES_MAX: usize = 16 * 1024;

const MARK: &str = ";chunk-signature=";
const TRAILER_MARK: &str = "x-amz-trailer-signature:";
const BROKEN: Refused = Refused::Unsignable("its signed chunks are malformed");

/// What the chain of signatures starts from.
pub(super) struct Chain {
    /// The signing key of the day, region and service.
    pub(super) key: Secret,
    /// `20260131T120000Z`, then the scope, each on a line.
    pub(super) stamp: String,
    /// The signature before.
    pub(super) signature: String,
}

impl Chain {
    fn next(&mut self, algorithm: &str, hashes: &str) -> &str {
        let (stamp, before) = (&self.stamp, &self.signature);
        let text = format!("{algorithm}\n{stamp}\n{before}\n{hashes}");
        self.signature = signature(&self.key, text.as_bytes());
        &self.signature
    }

    fn chunk(&mut self, bytes: &[u8]) -> &str {
        let (nothing, hash) = (hash_of(b""), hash_of(bytes));
        self.next("AWS4-HMAC-SHA256-PAYLOAD", &format!("{nothing}\n{hash}"))
    }

    fn trailer(&mut self, canonical: &str) -> &str {
        let hash = hash_of(canonical.as_bytes());
        self.next("AWS4-HMAC-SHA256-TRAILER", &hash)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the signature is made with the key"
)]
fn signature(key: &Secret, text: &[u8]) -> String {
    aws_sigv4::sign::v4::calculate_signature(key.open(), text)
}

/// SHA-256 in lower-case hex.
pub(super) fn hash_of(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

/// Whether a body in chunks ends with signed trailing headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Plain,
    Trailer,
}

/// Signs chunk after chunk.
pub(super) struct Chunks {
    chain: Chain,
    ending: Ending,
    held: Vec<u8>,
    step: Step,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Chunk,
    End,
    Done,
}

impl Chunks {
    pub(super) const fn new(chain: Chain, ending: Ending) -> Self {
        Self {
            chain,
            ending,
            held: Vec::new(),
            step: Step::Chunk,
        }
    }

    /// Takes the next whole part from what is held; `None` when more is needed.
    fn part(&mut self, out: &mut Vec<u8>) -> Result<Option<usize>, Refused> {
        match (self.step, self.ending) {
            (Step::Chunk, _) => self.whole_chunk(out),
            (Step::End, Ending::Plain) => {
                let Some(end) = self.held.get(..2) else {
                    return Ok(None);
                };
                if end != b"\r\n" {
                    return Err(BROKEN);
                }
                out.extend_from_slice(end);
                self.step = Step::Done;
                Ok(Some(2))
            }
            (Step::End, Ending::Trailer) => self.trailer(out),
            (Step::Done, _) if self.held.is_empty() => Ok(None),
            (Step::Done, _) => Err(BROKEN),
        }
    }

    fn whole_chunk(&mut self, out: &mut Vec<u8>) -> Result<Option<usize>, Refused> {
        let Some(line) = find(&self.held, b"\r\n") else {
            return match self.held.len() > HEAD_BYTES_MAX {
                true => Err(BROKEN),
                false => Ok(None),
            };
        };
        let head = self.held.get(..line).filter(|_| line <= HEAD_BYTES_MAX);
        let head = std::str::from_utf8(head.ok_or(BROKEN)?).map_err(|_cause| BROKEN)?;
        let (digits, given) = head.split_once(MARK).ok_or(BROKEN)?;
        let hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if digits.is_empty() || given.len() != 64 || !hexadecimal(digits) || !hexadecimal(given) {
            return Err(BROKEN);
        }
        let size = usize::from_str_radix(digits, 16).map_err(|_cause| BROKEN)?;
        if size > CHUNK_BYTES_MAX {
            return Err(unsignable("it has a signed chunk of more than 1 MiB"));
        }
        let from = line.saturating_add(2);
        if size == 0 {
            let text = format!("{digits}{MARK}{}\r\n", self.chain.chunk(b""));
            out.extend_from_slice(text.as_bytes());
            self.step = Step::End;
            return Ok(Some(from));
        }
        let to = from.saturating_add(size);
        let end = to.saturating_add(2);
        let (Some(bytes), Some(after)) = (self.held.get(from..to), self.held.get(to..end)) else {
            return Ok(None);
        };
        if after != b"\r\n" {
            return Err(BROKEN);
        }
        let text = format!("{digits}{MARK}{}\r\n", self.chain.chunk(bytes));
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(bytes);
        out.extend_from_slice(after);
        Ok(Some(end))
    }

    /// Trailing headers, the line with their signature, and an empty line.
    fn trailer(&mut self, out: &mut Vec<u8>) -> Result<Option<usize>, Refused> {
        let Some(end) = find(&self.held, b"\r\n\r\n") else {
            return match self.held.len() > TRAILER_BYTES_MAX {
                true => Err(BROKEN),
                false => Ok(None),
            };
        };
        let text = self.held.get(..end).ok_or(BROKEN)?;
        let text = std::str::from_utf8(text).map_err(|_cause| BROKEN)?;
        let (fields, given) = text.rsplit_once("\r\n").ok_or(BROKEN)?;
        let given = given.strip_prefix(TRAILER_MARK).ok_or(BROKEN)?;
        if given.len() != 64 || !given.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(BROKEN);
        }
        let mut canonical = Vec::new();
        for field in fields.split("\r\n") {
            let (name, value) = field.split_once(':').ok_or(BROKEN)?;
            canonical.push(format!("{}:{}\n", name.to_ascii_lowercase(), value.trim()));
        }
        canonical.sort();
        let signature = self.chain.trailer(&canonical.concat());
        out.extend_from_slice(format!("{fields}\r\n{TRAILER_MARK}{signature}\r\n\r\n").as_bytes());
        self.step = Step::Done;
        Ok(Some(end.saturating_add(4)))
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, what)
}

impl BodyChange for Chunks {
    fn push(&mut self, piece: &[u8], last: Last) -> Result<Bytes, Refused> {
        self.held.extend_from_slice(piece);
        let mut out = Vec::with_capacity(piece.len());
        while let Some(taken) = self.part(&mut out)? {
            self.held.drain(..taken);
        }
        if last == Last::Yes && self.step != Step::Done {
            return Err(BROKEN);
        }
        Ok(Bytes::from(out))
    }
}

/// Compares a streamed body with the hash that its head states.
pub(super) struct Compared {
    context: Context,
    expected: String,
}

impl Compared {
    pub(super) fn with(expected: &str) -> Self {
        Self {
            context: Context::new(&SHA256),
            expected: expected.to_owned(),
        }
    }
}

impl BodyChange for Compared {
    fn push(&mut self, piece: &[u8], last: Last) -> Result<Bytes, Refused> {
        self.context.update(piece);
        if last == Last::Yes && hex(self.context.clone().finish().as_ref()) != self.expected {
            return Err(unsignable("its body is not the one whose hash it states"));
        }
        Ok(Bytes::copy_from_slice(piece))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunks(ending: Ending) -> Chunks {
        let chain = Chain {
            key: Secret::new(b"CANARY-aws-day-key".to_vec()),
            stamp: "20260131T120000Z\n20260131/eu-west-1/s3/aws4_request".to_owned(),
            signature: "0".repeat(64),
        };
        Chunks::new(chain, ending)
    }

    fn body(parts: &[&[u8]], end: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let given = "a".repeat(64);
        for part in parts.iter().copied().chain([&b""[..]]) {
            out.extend(format!("{:x}{MARK}{given}\r\n", part.len()).into_bytes());
            out.extend_from_slice(part);
            if !part.is_empty() {
                out.extend_from_slice(b"\r\n");
            }
        }
        out.extend(end.replace("SIG", &given).into_bytes());
        out
    }

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "a row reads better")]
    fn check(body: &[u8], ending: Ending, expect: Result<(), Refused>) {
        let got = chunks(ending).push(body, Last::Yes);
        assert_eq!(
            got.as_ref().map(|bytes| bytes.len()),
            expect.as_ref().map(|()| body.len())
        );
    }

    #[test]
    fn chunks_keep_their_length_and_what_is_none_is_broken_off() {
        let plain = body(&[b"one", b"two"], "\r\n");
        check(&plain, Ending::Plain, Ok(()));
        let trailer = "x-amz-checksum-crc32:AAAAAA==\r\nx-amz-trailer-signature:SIG\r\n\r\n";
        check(&body(&[b"one"], trailer), Ending::Trailer, Ok(()));
        for (wrong, ending) in [
            (&plain[..plain.len() - 1], Ending::Plain),
            (&body(&[b"one"], "\r\nmore"), Ending::Plain),
            (&body(&[b"one"], "xx"), Ending::Plain),
            (&body(&[b"one"], trailer), Ending::Plain),
            (&plain, Ending::Trailer),
            (
                &body(&[b"one"], "x-amz-trailer-signature:SIG\r\n\r\n"),
                Ending::Trailer,
            ),
            (b"3\r\none\r\n", Ending::Plain),
            (b"+3;chunk-signature=aa\r\none\r\n", Ending::Plain),
            (&[b'0'; 200], Ending::Plain),
            (b"", Ending::Plain),
        ] {
            check(wrong, ending, Err(BROKEN));
        }
        let large = format!("200000{MARK}{}\r\n", "a".repeat(64));
        check(
            large.as_bytes(),
            Ending::Plain,
            Err(unsignable("it has a signed chunk of more than 1 MiB")),
        );
    }

    /// A chain of the examples that S3 publishes.
    fn published(seed: &str) -> Chain {
        let day = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_369_353_600);
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let key = aws_sigv4::sign::v4::generate_signing_key(secret, day, "us-east-1", "s3");
        Chain {
            key: Secret::new(key.as_ref().to_vec()),
            stamp: "20130524T000000Z\n20130524/us-east-1/s3/aws4_request".to_owned(),
            signature: seed.to_owned(),
        }
    }

    #[test]
    fn the_published_examples_of_s3_are_signed_chunk_by_chunk() {
        let (first, second) = (vec![b'a'; 65536], vec![b'a'; 1024]);
        let signed = |chain, ending, end: &str| {
            let body = body(&[&first, &second], end);
            let out = Chunks::new(chain, ending).push(&body, Last::Yes).unwrap();
            let text = String::from_utf8(out.to_vec()).unwrap();
            let after = |mark| {
                text.split(mark)
                    .skip(1)
                    .map(|rest| rest.get(..64).unwrap().to_owned())
            };
            after(MARK).chain(after(TRAILER_MARK)).collect::<Vec<_>>()
        };
        let plain = published("4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9");
        assert_eq!(
            signed(plain, Ending::Plain, "\r\n"),
            [
                "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
                "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
                "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
            ]
        );
        let trailer = published("106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e");
        let end = "x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:SIG\r\n\r\n";
        assert_eq!(
            signed(trailer, Ending::Trailer, end),
            [
                "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
                "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
                "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
                "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435",
            ]
        );
    }

    #[test]
    fn a_streamed_body_must_have_the_hash_that_is_stated() {
        let mut good = Compared::with(&hash_of(b"onetwo"));
        assert_eq!(good.push(b"one", Last::No).unwrap(), "one");
        assert_eq!(good.push(b"two", Last::Yes).unwrap(), "two");
        let mut bad = Compared::with(&hash_of(b"onetwo"));
        assert!(bad.push(b"other", Last::Yes).is_err());
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..6),
            cuts in proptest::collection::vec(1_usize..90, 0..40),
        ) {
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let body = body(&parts, "\r\n");
            let whole = chunks(Ending::Plain).push(&body, Last::Yes).unwrap();
            prop_assert_eq!(whole.len(), body.len());
            let mut split = chunks(Ending::Plain);
            let (mut out, mut rest) = (Vec::new(), body.as_slice());
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                out.extend_from_slice(&split.push(piece, Last::No).unwrap());
                rest = after;
            }
            out.extend_from_slice(&split.push(rest, Last::Yes).unwrap());
            prop_assert_eq!(&out[..], &whole[..]);
        }

        #[test]
        fn any_bytes_are_chunks_or_broken_off(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let got = chunks(Ending::Trailer).push(&bytes, Last::Yes);
            prop_assert!(got.is_err() || got.unwrap().len() == bytes.len());
        }
    }
}
