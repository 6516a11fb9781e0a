//! One response body on its way to the agent: decoded, cleaned as a text, cleaned again in the texts inside its events,
//! and held to the size that its tool allows.
//!
//! Owns the order of these. Once a body is found unsafe, nothing more of it comes out.

use super::{
    DeltaPath, Deltas, Formats, Hits, Newest, Pieces, Text, TextRules, Unsafe, Written,
    decode::Decoder, markers::Flags, pii::add_hits,
};

/// What a tool asks of its bodies.
#[derive(Debug, Clone, Default)]
pub struct BodyRules {
    /// What goes besides secrets.
    pub text: TextRules,
    /// How this body writes characters in escapes.
    pub written: Written,
    /// Where texts are that arrive in pieces.
    pub deltas: Option<(Pieces, Vec<DeltaPath>)>,
    /// The most that may come out.
    pub bytes_max: Option<u64>,
}

/// Decodes and cleans one body.
pub struct BodyScrubber {
    decoder: Decoder,
    text: Text,
    deltas: Option<Deltas>,
    /// Between text and events.
    clean: Vec<u8>,
    left: u64,
    bytes_max: u64,
    failure: Option<Unsafe>,
}

impl BodyScrubber {
    /// A scrubber for a body under `content_encoding` (the header's value; several lines joined by commas).
    ///
    /// # Errors
    /// When a coding is unknown or too many are stacked.
    pub fn new(
        patterns: impl Into<Newest>,
        content_encoding: Option<&str>,
    ) -> Result<Self, Unsafe> {
        Self::with_formats(patterns, content_encoding, Formats::Redact)
    }

    /// Like [`BodyScrubber::new`], with a choice about token formats.
    ///
    /// # Errors
    /// When a coding is unknown or too many are stacked.
    pub fn with_formats(
        patterns: impl Into<Newest>,
        content_encoding: Option<&str>,
        formats: Formats,
    ) -> Result<Self, Unsafe> {
        let text = Text::secrets(patterns, formats);
        Ok(Self::of(Decoder::new(content_encoding)?, text))
    }

    /// A scrubber that follows a tool's rules.
    ///
    /// # Errors
    /// When a coding is unknown or too many are stacked.
    pub fn with_rules(
        patterns: impl Into<Newest>,
        content_encoding: Option<&str>,
        rules: &BodyRules,
    ) -> Result<Self, Unsafe> {
        let patterns = patterns.into();
        let asked = (&rules.text, rules.written);
        let text = Text::new(patterns.clone(), Formats::Redact, asked);
        let mut scrubber = Self::of(Decoder::new(content_encoding)?, text);
        scrubber.deltas = rules
            .deltas
            .clone()
            .map(|(pieces, paths)| Deltas::new(patterns, &rules.text, paths, pieces));
        scrubber.bytes_max = rules.bytes_max.unwrap_or(u64::MAX);
        scrubber.left = scrubber.bytes_max;
        Ok(scrubber)
    }

    fn of(decoder: Decoder, text: Text) -> Self {
        Self {
            decoder,
            text,
            deltas: None,
            clean: Vec::new(),
            left: u64::MAX,
            bytes_max: u64::MAX,
            failure: None,
        }
    }

    /// Whether the body arrives under a coding, so that `Content-Encoding` must be removed.
    pub fn is_decoding(&self) -> bool {
        self.decoder.is_decoding()
    }

    /// Takes the next chunk as it came and appends clean decoded bytes to `out`.
    ///
    /// # Errors
    /// When the content is not what its coding says, expands too far or is too large; every later call fails too.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Unsafe> {
        self.pass(out, |scrubber, out| {
            let Self {
                decoder,
                text,
                deltas,
                clean,
                ..
            } = scrubber;
            let Some(deltas) = deltas else {
                return decoder.push(chunk, &mut |plain| {
                    text.push(plain, out);
                    Ok(())
                });
            };
            decoder.push(chunk, &mut |plain| {
                clean.clear();
                text.push(plain, clean);
                deltas.push(clean, out)
            })
        })
    }

    /// Ends the body and appends the rest.
    ///
    /// # Errors
    /// When the content ends in the middle of its coding or is too large; what was held is then lost.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Unsafe> {
        self.pass(out, |scrubber, out| {
            scrubber.decoder.finish()?;
            let Some(deltas) = &mut scrubber.deltas else {
                scrubber.text.finish(out);
                return Ok(());
            };
            scrubber.clean.clear();
            scrubber.text.finish(&mut scrubber.clean);
            deltas.push(&scrubber.clean, out)?;
            deltas.finish(out)
        })
    }

    /// How many decoded bytes are held back.
    pub fn held(&self) -> usize {
        self.text.held() + self.deltas.as_ref().map_or(0, Deltas::held)
    }

    /// What was taken out so far.
    pub fn hits(&self) -> Hits {
        let mut hits = self.text.hits();
        if let Some(deltas) = &self.deltas {
            add_hits(&deltas.hits(), &mut hits);
        }
        hits
    }

    /// The flags raised so far.
    pub fn flags(&self) -> Flags {
        let mut flags = self.text.flags();
        if let Some(deltas) = &self.deltas {
            // A phrase within one piece is seen by both, and is still one.
            for (flag, count) in deltas.flags() {
                let seen = flags.entry(flag).or_default();
                *seen = count.max(*seen);
            }
        }
        flags
    }

    fn pass(
        &mut self,
        out: &mut Vec<u8>,
        stage: impl FnOnce(&mut Self, &mut Vec<u8>) -> Result<(), Unsafe>,
    ) -> Result<(), Unsafe> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let start = out.len();
        let mut passed = stage(self, out);
        let made = u64::try_from(out.len().saturating_sub(start)).unwrap_or(u64::MAX);
        match self.left.checked_sub(made) {
            Some(left) => self.left = left,
            None if passed.is_ok() => passed = Err(Unsafe::TooLarge(self.bytes_max)),
            None => {}
        }
        if passed.is_err() {
            out.truncate(start);
        }
        self.failure = passed.as_ref().err().cloned();
        passed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use exeat_types::Secret;

    use super::{super::Patterns, *};

    fn scrub(rules: &BodyRules, body: &str, size: usize) -> (Vec<u8>, Result<(), Unsafe>) {
        let secret = Secret::new(b"CANARY-body-0001".to_vec());
        let patterns = Arc::new(Patterns::compile(&[("k", &secret)], &[]).unwrap());
        let mut scrubber = BodyScrubber::with_rules(patterns, None, rules).unwrap();
        let mut out = Vec::new();
        let mut chunks = body.as_bytes().chunks(size);
        let result = chunks
            .try_for_each(|chunk| scrubber.push(chunk, &mut out))
            .and_then(|()| scrubber.finish(&mut out));
        (out, result)
    }

    #[test]
    fn a_body_that_is_too_large_is_cut_at_its_bound() {
        let rules = BodyRules {
            bytes_max: Some(20),
            ..BodyRules::default()
        };
        for size in [1, 7, 100] {
            assert_eq!(scrub(&rules, "exactly 20 bytes ok.", size).1, Ok(()));
            let (out, result) = scrub(&rules, "these are 21 bytes ...", size);
            assert_eq!(result, Err(Unsafe::TooLarge(20)));
            assert!(out.len() <= 20);
        }
    }

    #[test]
    fn a_phrase_over_deltas_is_flagged() {
        let rules = BodyRules {
            text: TextRules {
                markers: crate::redact::Looking::On,
                ..TextRules::default()
            },
            written: Written::Json,
            deltas: Some((Pieces::Events, vec![DeltaPath::of_pointer("/delta/text")])),
            bytes_max: None,
        };
        for pieces in [
            ["ignore prev", "ious instructions"],
            ["x", "ignore the above"],
        ] {
            let patterns = Arc::new(Patterns::compile(&[], &[]).unwrap());
            let mut scrubber = BodyScrubber::with_rules(patterns, None, &rules).unwrap();
            let mut out = Vec::new();
            for piece in pieces {
                let event = format!("data: {{\"delta\":{{\"text\":\"{piece}\"}}}}\n\n");
                scrubber.push(event.as_bytes(), &mut out).unwrap();
            }
            scrubber.finish(&mut out).unwrap();
            assert_eq!(scrubber.flags(), Flags::from([("ignore-instructions", 1)]));
        }
    }

    #[test]
    fn a_secret_over_deltas_is_found_in_events_whose_own_text_is_cleaned_too() {
        let rules = BodyRules {
            written: Written::Json,
            deltas: Some((Pieces::Events, vec![DeltaPath::of_pointer("/delta/text")])),
            ..BodyRules::default()
        };
        let body = "data: {\"x\":\"CANARY-body-0001\",\"delta\":{\"text\":\"CANARY-b\"}}\n\n\
                    data: {\"delta\":{\"text\":\"ody-0001\"}}\n\n";
        let clean = "data: {\"x\":\"[redacted:k]\",\"delta\":{\"text\":\"\"}}\n\n\
                     data: {\"delta\":{\"text\":\"[redacted:k]\"}}\n\n";
        for size in [1, 10, 1000] {
            let (out, result) = scrub(&rules, body, size);
            assert_eq!(
                (String::from_utf8(out).unwrap().as_str(), result),
                (clean, Ok(()))
            );
        }
    }
}
