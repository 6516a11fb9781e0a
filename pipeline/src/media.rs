//! What kind of content a response is, and what of its tool's rules applies to that kind.
//!
//! Rules for text apply to text: a program or an image that they changed would be broken and no safer. What says nothing of
//! itself is taken for text.

use exeat_custody::redact::{
    BodyRules, DeltaPath, Hidden, Looking, Pieces, PiiKind, TextRules, Written,
};
use exeat_policy::{HiddenText, Markers, Pii, ResponseRules};
use exeat_types::Reason;
use http::{HeaderMap, header};

/// A kind of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    /// One JSON document.
    Json,
    /// Lines of JSON.
    Lines,
    /// Server-sent events.
    Events,
    /// HTML or XML.
    Markup,
    /// Other text, and what does not say what it is.
    Text,
    /// Messages of gRPC.
    Grpc,
    /// Anything else.
    Binary,
}

impl Media {
    /// What the head says.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let kind = content_type(headers);
        let essence = kind.split(';').next().unwrap_or_default().trim();
        match essence {
            "application/json" => Self::Json,
            "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/x-jsonlines"
            | "application/json-seq" => Self::Lines,
            "text/event-stream" => Self::Events,
            "text/html" | "text/xml" | "application/xml" => Self::Markup,
            ""
            | "application/javascript"
            | "application/x-www-form-urlencoded"
            | "application/yaml"
            | "application/toml"
            | "application/graphql" => Self::Text,
            _ if essence.ends_with("+json") => Self::Json,
            _ if essence.ends_with("+xml") => Self::Markup,
            _ if essence.starts_with("text/") => Self::Text,
            "application/grpc" => Self::Grpc,
            _ if essence.starts_with("application/grpc+") => Self::Grpc,
            // What has a character set is made of characters.
            _ if charsets(&kind).next().is_some() => Self::Text,
            _ => Self::Binary,
        }
    }

    /// Whether rules for text apply.
    pub(crate) const fn is_text(self) -> bool {
        match self {
            Self::Json | Self::Lines | Self::Events | Self::Markup | Self::Text => true,
            Self::Grpc | Self::Binary => false,
        }
    }

    /// What a tool's rules mean for this kind.
    ///
    /// # Errors
    /// `response-unsafe`, when hidden text is to be dropped from text in a character set that is not read.
    pub(crate) fn rules(
        self,
        headers: &HeaderMap,
        rules: &ResponseRules,
    ) -> Result<BodyRules, Reason> {
        let written = match self {
            Self::Json | Self::Lines | Self::Events => Written::Json,
            Self::Markup => Written::Markup,
            Self::Text | Self::Grpc | Self::Binary => Written::Plain,
        };
        let text = if self.is_text() {
            if rules.hidden == HiddenText::Strip && !is_read(headers) {
                return Err(Reason::ResponseUnsafe);
            }
            text_rules(rules)
        } else {
            TextRules::default()
        };
        let paths = || {
            let paths = rules.deltas.iter();
            paths.map(|path| DeltaPath::of_pointer(path)).collect()
        };
        let deltas = match self {
            _ if rules.deltas.is_empty() => None,
            Self::Events => Some((Pieces::Events, paths())),
            Self::Lines => Some((Pieces::Lines, paths())),
            Self::Json | Self::Markup | Self::Text | Self::Grpc | Self::Binary => None,
        };
        Ok(BodyRules {
            text,
            written,
            deltas,
            bytes_max: rules.bytes_max,
        })
    }
}

/// Whether a tool asks anything of its texts.
pub(crate) fn asks_for_text(rules: &ResponseRules) -> bool {
    text_rules(rules) != TextRules::default()
}

/// What a tool asks of its texts.
pub(crate) fn text_rules(rules: &ResponseRules) -> TextRules {
    let kind = |pii: &Pii| match pii {
        Pii::Card => PiiKind::Card,
        Pii::Ssn => PiiKind::Ssn,
        Pii::Iban => PiiKind::Iban,
        Pii::Email => PiiKind::Email,
    };
    TextRules {
        pii: rules.pii.iter().map(kind).collect(),
        hidden: match rules.hidden {
            HiddenText::Keep => Hidden::Keep,
            HiddenText::Strip => Hidden::Strip,
        },
        markers: match rules.markers {
            Markers::Ignore => Looking::Off,
            Markers::Flag => Looking::On,
        },
    }
}

/// Whether the character set is one whose hidden characters are known: UTF-8, or one byte for each character.
fn is_read(headers: &HeaderMap) -> bool {
    let kind = content_type(headers);
    charsets(&kind).all(|name| {
        matches!(
            name,
            "utf-8" | "utf8" | "us-ascii" | "ascii" | "iso-8859-1" | "latin1" | "windows-1252"
        )
    })
}

/// The character sets that a type names, in lower case; some readers allow spaces around `=`.
fn charsets(kind: &str) -> impl Iterator<Item = &str> {
    let parameters = kind.split(';').skip(1);
    parameters.filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        (name.trim() == "charset").then(|| value.trim().trim_matches(['"', '\'']))
    })
}

fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE);
    value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn typed(kind: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers
    }

    #[test]
    fn kinds_are_known_by_their_type() {
        for (kind, expect) in [
            ("application/json; charset=utf-8", Media::Json),
            ("application/problem+json", Media::Json),
            ("application/x-ndjson", Media::Lines),
            ("Text/Event-Stream", Media::Events),
            ("image/svg+xml", Media::Markup),
            ("text/x-rust", Media::Text),
            ("application/grpc+proto", Media::Grpc),
            ("application/grpc-web", Media::Binary),
            ("application/octet-stream", Media::Binary),
            ("image/png", Media::Binary),
            ("image/png; x=charset", Media::Binary),
            ("application/sql; charset=utf-8", Media::Text),
            (
                "application/octet-stream; x=y; Charset = \"x\"",
                Media::Text,
            ),
        ] {
            assert_eq!(Media::of(&typed(kind)), expect, "{kind}");
        }
        assert_eq!(Media::of(&HeaderMap::new()), Media::Text);
    }

    #[test]
    fn rules_for_text_apply_to_text_that_can_be_read() {
        let rules = ResponseRules {
            hidden: HiddenText::Strip,
            pii: vec![Pii::Card],
            deltas: vec!["/delta".to_owned()],
            ..ResponseRules::default()
        };
        let of = |kind| {
            let headers = typed(kind);
            Media::of(&headers).rules(&headers, &rules)
        };
        let json = of("application/json").unwrap();
        assert_eq!(
            (json.text.hidden, json.written),
            (Hidden::Strip, Written::Json)
        );
        assert!(json.deltas.is_none());
        assert!(of("text/event-stream").unwrap().deltas.is_some());
        assert_eq!(of("image/png").unwrap().text, TextRules::default());
        assert_eq!(
            of("text/plain; charset=\"UTF-8\"").unwrap().text.pii,
            [PiiKind::Card]
        );
        for unread in [
            "text/plain; charset=utf-16",
            "text/plain; charset = utf-16",
            "text/plain; charset=utf-8; charset=utf-16",
            "application/sql; charset=utf-7",
        ] {
            assert_eq!(of(unread).err(), Some(Reason::ResponseUnsafe), "{unread}");
        }
    }
}
