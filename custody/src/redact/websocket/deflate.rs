//! permessage-deflate (RFC 7692): what of an offer is passed on, what an answer agreed on, and the messages read plain.
//!
//! Messages are only ever inflated here. Towards the agent they go on uncompressed, which section 6 leaves to each
//! message; towards upstream they go on as they came, and a copy is read. An inflater keeps its window from message to
//! message: that is right with context takeover, and does no harm without.

use exeat_types::limits::{DECODE_FREE_BYTES, DECODE_RATIO_MAX};
use flate2::{Decompress, FlushDecompress};

use super::{super::Unsafe, frame::Deflate};
use crate::redact::decode::{Step, inflate};

/// The bytes that a sender takes off the end of each message (section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
const BLOCK_BYTES: usize = 16 * 1024;
const NAME: &str = "permessage-deflate";

impl Deflate {
    /// What of a client's offers goes on to upstream; `None` when nothing does.
    ///
    /// Offers of other extensions are left out, as nobody here could read their frames.
    pub fn offered<'a>(values: impl Iterator<Item = &'a str>) -> Option<String> {
        let offers = values.flat_map(|value| value.split(',')).map(str::trim);
        let known: Vec<&str> = offers.filter(|offer| is_known(offer)).collect();
        (!known.is_empty()).then(|| known.join(", "))
    }

    /// What the handshake agreed on, by upstream's answer to what was offered.
    ///
    /// # Errors
    /// When upstream uses an extension that it was not offered.
    pub fn agreed<'a>(
        offered: Option<&str>,
        answers: impl Iterator<Item = &'a str>,
    ) -> Result<Self, Unsafe> {
        let answers = answers.flat_map(|value| value.split(',')).map(str::trim);
        let answers: Vec<&str> = answers.filter(|answer| !answer.is_empty()).collect();
        match (answers.as_slice(), offered) {
            ([], _) => Ok(Self::Off),
            ([answer], Some(_)) if is_known(answer) => Ok(Self::On),
            _ => Err(Unsafe::Frame("comes under an extension nobody asked for")),
        }
    }
}

/// Whether an offer or answer is permessage-deflate with parameters of section 7.1.
fn is_known(text: &str) -> bool {
    let mut parts = text.split(';').map(str::trim);
    let named = parts
        .next()
        .is_some_and(|name| name.eq_ignore_ascii_case(NAME));
    named
        && parts.all(|parameter| {
            let (name, value) = match parameter.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
                None => (parameter, None),
            };
            let bits = value.map(str::parse::<u8>);
            match name {
                "server_no_context_takeover" | "client_no_context_takeover" => value.is_none(),
                "server_max_window_bits" => matches!(bits, Some(Ok(8..=15))),
                "client_max_window_bits" => matches!(bits, None | Some(Ok(8..=15))),
                _ => false,
            }
        })
}

/// Reads the compressed messages of one direction.
pub(super) struct Inflater {
    inflater: Decompress,
    block: Box<[u8]>,
    taken: u64,
    made: u64,
}

impl Inflater {
    pub(super) fn new() -> Self {
        Self {
            inflater: Decompress::new(false),
            block: vec![0; BLOCK_BYTES].into_boxed_slice(),
            taken: 0,
            made: 0,
        }
    }

    /// Reads some payload of a message, and shows what it holds piece by piece.
    pub(super) fn push(
        &mut self,
        mut payload: &[u8],
        mut see: impl FnMut(&[u8]) -> Result<(), Unsafe>,
    ) -> Result<(), Unsafe> {
        let count = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        self.taken = self.taken.saturating_add(count(payload.len()));
        loop {
            let flush = FlushDecompress::Sync;
            let stepped = inflate(&mut self.inflater, payload, &mut self.block, flush, NAME)?;
            let (Step { taken, made }, ended) = stepped;
            payload = payload.get(taken..).unwrap_or_default();
            self.made = self.made.saturating_add(count(made));
            let most = DECODE_FREE_BYTES.max(self.taken.saturating_mul(DECODE_RATIO_MAX));
            if self.made > most {
                return Err(Unsafe::Expanding(NAME));
            }
            see(self.block.get(..made).unwrap_or_default())?;
            if ended {
                // Section 7.2.3.5: a sender may end its stream in a message, and begins anew behind.
                self.inflater.reset(false);
            }
            if payload.is_empty() && made < BLOCK_BYTES {
                return Ok(());
            }
            if taken == 0 && made == 0 && !ended {
                return Err(Unsafe::Corrupt(NAME));
            }
        }
    }

    /// Reads the end of a message.
    pub(super) fn end(
        &mut self,
        see: impl FnMut(&[u8]) -> Result<(), Unsafe>,
    ) -> Result<(), Unsafe> {
        self.push(&TAIL, see)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_read_is_offered() {
        let offered = |text: &'static str| Deflate::offered([text].into_iter());
        let plain = "permessage-deflate; client_max_window_bits";
        assert_eq!(offered(plain).as_deref(), Some(plain));
        let both = "x-webkit-deflate-frame, permessage-deflate; server_max_window_bits=10, bbf";
        let kept = "permessage-deflate; server_max_window_bits=10";
        assert_eq!(offered(both).as_deref(), Some(kept));
        for refused in [
            "",
            "permessage-bzip2",
            "permessage-deflate; mystery",
            "permessage-deflate; server_max_window_bits=99",
        ] {
            assert_eq!(offered(refused), None, "{refused}");
        }
    }

    #[test]
    fn an_answer_that_was_not_asked_for_is_refused() {
        let agreed = |offered, answer: &'static str| Deflate::agreed(offered, [answer].into_iter());
        let offer = Some("permessage-deflate");
        assert_eq!(agreed(offer, ""), Ok(Deflate::Off));
        assert_eq!(agreed(None, ""), Ok(Deflate::Off));
        let answer = "permessage-deflate; server_no_context_takeover; client_max_window_bits=12";
        assert_eq!(agreed(offer, answer), Ok(Deflate::On));
        assert!(agreed(None, answer).is_err());
        assert!(agreed(offer, "permessage-deflate, permessage-deflate").is_err());
        assert!(agreed(offer, "x-other").is_err());
    }
}
