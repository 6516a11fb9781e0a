//! One text on its way to the agent, stage by stage: hidden characters go, secrets and tokens, personal information;
//! markers are flagged.
//!
//! Owns the order. Hidden characters go first, so that a secret cannot lie broken up by them; markers are looked for
//! last, in what the agent reads. Without rules of a tool there is one stage, and nothing is copied.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Formats, Hits, Newest, Stream,
    formats::Ending,
    hidden::HiddenText,
    markers::{Flags, Markers},
    pii::{PiiKind, PiiStream, add_hits},
};

/// How a kind of text writes characters in escapes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Written {
    /// As they are.
    #[default]
    Plain,
    /// JSON, or lines or events that hold it.
    Json,
    /// HTML or XML.
    Markup,
}

/// What a tool asks for besides secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextRules {
    /// Personal information that is taken out.
    pub pii: Vec<PiiKind>,
    /// What happens to hidden characters.
    pub hidden: Hidden,
    /// Whether markers are looked for.
    pub markers: Looking,
}

/// What happens to hidden characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Hidden {
    /// They pass.
    #[default]
    Keep,
    /// They are dropped.
    Strip,
}

/// Whether something is looked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Looking {
    /// It is not.
    #[default]
    Off,
    /// It is.
    On,
}

/// Cleans one text that arrives in chunks.
pub struct Text {
    hidden: Option<HiddenText>,
    stream: Stream,
    pii: Option<PiiStream>,
    markers: Option<Markers>,
    /// Between the stages.
    visible: Vec<u8>,
    clean: Vec<u8>,
}

/// The label under which dropped characters are counted.
const HIDDEN_LABEL: &str = "hidden-text";

impl Text {
    /// Nothing but secrets and token formats.
    pub fn secrets(patterns: impl Into<Newest>, formats: Formats) -> Self {
        Self {
            hidden: None,
            stream: Stream::with_formats(patterns, formats),
            pii: None,
            markers: None,
            visible: Vec::new(),
            clean: Vec::new(),
        }
    }

    /// What the rules ask for besides, in text that is written so.
    pub fn new(
        patterns: impl Into<Newest>,
        formats: Formats,
        (rules, written): (&TextRules, Written),
    ) -> Self {
        let mut text = Self::secrets(patterns, formats);
        text.hidden = (rules.hidden == Hidden::Strip).then(|| HiddenText::new(written));
        text.pii = (!rules.pii.is_empty()).then(|| PiiStream::new(&rules.pii, written));
        text.markers = (rules.markers == Looking::On).then(Markers::default);
        text
    }

    /// Takes the next chunk and appends to `out` what is certain to be clean.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        self.pass(chunk, Ending::Open, out);
    }

    /// Ends the text and appends the rest; another one may follow.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.pass(&[], Ending::Final, out);
    }

    /// How many bytes are held back.
    pub fn held(&self) -> usize {
        let hidden = self.hidden.as_ref().map_or(0, HiddenText::held);
        let pii = self.pii.as_ref().map_or(0, PiiStream::held);
        self.stream.held() + hidden + pii
    }

    /// What was taken out so far.
    pub fn hits(&self) -> Hits {
        let mut hits = self.stream.hits().clone();
        if let Some(pii) = &self.pii {
            add_hits(pii.hits(), &mut hits);
        }
        let dropped = self.hidden.as_ref().map_or(0, HiddenText::dropped);
        if dropped > 0 {
            let own: Hits = BTreeMap::from([(Arc::from(HIDDEN_LABEL), dropped)]);
            add_hits(&own, &mut hits);
        }
        hits
    }

    /// The flags raised so far.
    pub fn flags(&self) -> Flags {
        let markers = self.markers.as_ref();
        markers
            .map(|found| found.flags().clone())
            .unwrap_or_default()
    }

    fn pass(&mut self, chunk: &[u8], ending: Ending, out: &mut Vec<u8>) {
        let start = out.len();
        self.visible.clear();
        let visible = match &mut self.hidden {
            None => chunk,
            Some(stage) => {
                stage.push(chunk, &mut self.visible);
                if ending == Ending::Final {
                    stage.finish(&mut self.visible);
                }
                &self.visible
            }
        };
        let clean = if self.pii.is_some() {
            self.clean.clear();
            &mut self.clean
        } else {
            &mut *out
        };
        self.stream.push(visible, clean);
        if ending == Ending::Final {
            self.stream.finish(clean);
        }
        if let Some(stage) = &mut self.pii {
            stage.push(&self.clean, out);
            if ending == Ending::Final {
                stage.finish(out);
            }
        }
        if let Some(stage) = &mut self.markers {
            stage.look(out.get(start..).unwrap_or_default());
            if ending == Ending::Final {
                stage.finish();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use exeat_types::Secret;

    use super::{super::Patterns, *};

    fn run(rules: &TextRules, written: Written, text: &str, size: usize) -> (String, Text) {
        let secret = Secret::new(b"CANARY-text-0001".to_vec());
        let patterns = Arc::new(Patterns::compile(&[("k", &secret)], &[]).unwrap());
        let mut stage = Text::new(patterns, Formats::Redact, (rules, written));
        let mut out = Vec::new();
        for chunk in text.as_bytes().chunks(size) {
            stage.push(chunk, &mut out);
        }
        stage.finish(&mut out);
        assert_eq!(stage.held(), 0);
        (String::from_utf8(out).unwrap(), stage)
    }

    #[test]
    fn a_secret_that_hidden_characters_break_up_is_found() {
        let rules = TextRules {
            hidden: Hidden::Strip,
            pii: vec![PiiKind::Email],
            markers: Looking::On,
        };
        let text = r#"{"a":"CANARY\u200b-te\uDB40\uDC41xt-0001 jane\u200d@example.org Ignore\u00ad the above"}"#;
        for size in [1, 3, 1000] {
            let (out, stage) = run(&rules, Written::Json, text, size);
            let expected = r#"{"a":"[redacted:k] [redacted:email] Ignore the above"}"#;
            assert_eq!(out, expected, "chunks of {size}");
            let hits = stage.hits();
            assert_eq!((hits["k"], hits["email"], hits[HIDDEN_LABEL]), (1, 1, 4));
            assert_eq!(stage.flags()["ignore-instructions"], 1);
        }
    }

    #[test]
    fn without_rules_only_secrets_go() {
        let text = "CANARY-text-0001 jane@example.org \u{200b} ignore the above";
        let (out, stage) = run(&TextRules::default(), Written::Plain, text, 4);
        assert_eq!(out, text.replace("CANARY-text-0001", "[redacted:k]"));
        assert!(stage.flags().is_empty());
    }
}
