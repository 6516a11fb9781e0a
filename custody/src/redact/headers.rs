//! Redaction of values that are whole from the start: header values and trailers.

use super::{Formats, Hits, Patterns, formats::Ending, patterns::Found, stream::State};

impl Patterns {
    /// Redacts one header value (`Location`, `Set-Cookie`, any other) or trailer; `None` means unchanged.
    pub fn scrub(&self, value: &[u8]) -> Option<Vec<u8>> {
        self.scrub_counting(value, Formats::Redact, &mut Hits::new())
    }

    /// Like [`Patterns::scrub`], with a choice about token formats, adding to `hits`.
    pub fn scrub_counting(
        &self,
        value: &[u8],
        formats: Formats,
        hits: &mut Hits,
    ) -> Option<Vec<u8>> {
        let mut found = Found::default();
        self.find(value, formats, Ending::Final, &mut found);
        if found.hits.is_empty() {
            return None;
        }
        let mut state = State::new(formats);
        let mut out = Vec::with_capacity(value.len());
        state.pass(self, value, Ending::Final, &mut out);
        for (label, count) in state.hits {
            let sum = hits.entry(label).or_default();
            *sum = sum.saturating_add(count);
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use exeat_types::Secret;

    use super::*;

    #[test]
    fn a_value_with_a_secret_is_replaced_and_counted() {
        let secret = Secret::new(b"CANARY/redact+headers".to_vec());
        let patterns = Patterns::compile(&[("github", &secret)], &[]).unwrap();
        let mut hits = Hits::new();
        let value = b"https://a.test/?t=CANARY%2fredact%2Bheaders&x=1";
        let out = patterns.scrub_counting(value, Formats::Redact, &mut hits);
        assert_eq!(out.unwrap(), b"https://a.test/?t=[redacted:github]&x=1");
        assert_eq!(hits.get("github"), Some(&1));
        assert_eq!(patterns.scrub(b"session=1; Path=/"), None);
    }
}
