//! From text on the wire to typed values: each text has one meaning under its declared types, or is refused.

use http::{HeaderMap, header};
use percent_encoding::percent_decode_str;
use serde_json::{Number, Value};

use crate::{
    Violation,
    schema::{Types, resolve, types},
};

/// How one declared parameter is read from text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) types: Types,
    pub(crate) list: List,
}

/// Whether a parameter holds several values, and how they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    /// One value.
    No,
    /// The name stands once for each value.
    Repeated,
    /// The values stand in one text, with commas between.
    Comma,
}

impl Field {
    /// How a property is read; `list` is how the section writes arrays.
    ///
    /// # Errors
    /// When it is an object, or an array of anything but plain values: text cannot say those.
    pub(crate) fn of(
        name: &str,
        property: &Value,
        root: &Value,
        list: List,
    ) -> Result<Self, &'static str> {
        let own = types(property, root);
        let plain = own.has(Types::TEXT) || own.has(Types::BOOLEAN) || own.has(Types::NUMBER);
        let plain = plain || own.has(Types::INTEGER);
        if !plain && own.has(Types::ARRAY) {
            let items = resolve(property, root)
                .get("items")
                .unwrap_or(&Value::Bool(true));
            let types = types(items, root);
            let item_plain =
                types.has(Types::TEXT) || types.has(Types::BOOLEAN) || types.has(Types::NUMBER);
            if !item_plain && !types.has(Types::INTEGER) {
                return Err("an array here can hold only strings, numbers and booleans");
            }
            return Ok(Self {
                name: name.to_owned(),
                types,
                list,
            });
        }
        if !plain {
            return Err("expected a string, a number, a boolean, or an array of those");
        }
        Ok(Self {
            name: name.to_owned(),
            types: own,
            list: List::No,
        })
    }

    /// Reads the values that stand for this parameter, each decoded, with its raw text for the commas.
    pub(crate) fn read(&self, place: &str, found: &[Text]) -> Result<Value, Violation> {
        let wrong = |problem: String| Violation::new(format!("{place}.{}", self.name), problem);
        match (self.list, found) {
            (List::No, [one]) => typed(self.types, &one.decoded).map_err(wrong),
            (List::No, _) => Err(wrong("stands more than once".to_owned())),
            (List::Repeated, all) => {
                let items = all.iter().map(|text| typed(self.types, &text.decoded));
                items
                    .collect::<Result<_, _>>()
                    .map(Value::Array)
                    .map_err(wrong)
            }
            (List::Comma, [one]) => {
                // SECURITY: servers disagree on whether an escaped comma separates, so it is not accepted.
                if one.raw_has_escaped_comma {
                    return Err(wrong(
                        "a comma inside a value of a list is not accepted".to_owned(),
                    ));
                }
                let items = one
                    .decoded
                    .split(',')
                    .map(|text| typed(self.types, text.trim()));
                items
                    .collect::<Result<_, _>>()
                    .map(Value::Array)
                    .map_err(wrong)
            }
            (List::Comma, _) => Err(wrong("stands more than once".to_owned())),
        }
    }
}

/// A decoded text.
pub(crate) struct Text {
    pub(crate) decoded: String,
    pub(crate) raw_has_escaped_comma: bool,
}

impl Text {
    pub(crate) fn plain(text: &str) -> Self {
        Self {
            decoded: text.to_owned(),
            raw_has_escaped_comma: false,
        }
    }
}

/// Reads `a=1&b=2` as HTML forms write it.
pub(crate) fn pairs(place: &str, raw: &str) -> Result<Vec<(String, Text)>, Violation> {
    let mut out = Vec::new();
    for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
        // SECURITY: some servers separate at `;` too, and would see parameters that policy did not.
        if pair.contains(';') {
            return Err(Violation::new(place, "`;` has to be written as `%3B`"));
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name).ok_or_else(|| Violation::new(place, "a name is not UTF-8"))?;
        let wrong = || Violation::new(format!("{place}.{}", shorten(&name)), "not UTF-8");
        let decoded = decode(value).ok_or_else(wrong)?;
        let raw_has_escaped_comma = value.contains("%2C") || value.contains("%2c");
        out.push((
            name,
            Text {
                decoded,
                raw_has_escaped_comma,
            },
        ));
    }
    Ok(out)
}

fn decode(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced)
        .decode_utf8()
        .ok()
        .map(std::borrow::Cow::into_owned)
}

/// The one value that a text has under these types.
fn typed(types: Types, text: &str) -> Result<Value, String> {
    if types.has(Types::TEXT) {
        return Ok(Value::String(text.to_owned()));
    }
    if types.has(Types::BOOLEAN) {
        match text {
            "true" => return Ok(Value::Bool(true)),
            "false" => return Ok(Value::Bool(false)),
            _ => {}
        }
    }
    if types.has(Types::INTEGER) && plain_integer(text) {
        let unsigned = || text.parse::<u64>().map(Number::from);
        if let Ok(number) = text
            .parse::<i64>()
            .map(Number::from)
            .or_else(|_| unsigned())
        {
            return Ok(Value::Number(number));
        }
        return Err(format!("`{}` is larger than 64 bits hold", shorten(text)));
    }
    let decimal = || text.parse().ok().and_then(Number::from_f64);
    if types.has(Types::NUMBER)
        && plain_decimal(text)
        && let Some(number) = decimal()
    {
        return Ok(Value::Number(number));
    }
    let expected = match (
        types.has(Types::BOOLEAN),
        types.has(Types::NUMBER),
        types.has(Types::INTEGER),
    ) {
        (true, false, false) => "`true` or `false`",
        (true, _, _) => "`true`, `false` or a number",
        (false, true, _) => "a number in plain decimal digits",
        (false, false, _) => "a whole number in plain decimal digits",
    };
    Err(format!("expected {expected}, got `{}`", shorten(text)))
}

/// `0`, `17`, `-17`; no sign that could be left out, no leading zero, no exponent.
fn plain_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let leading = digits.starts_with('0') && (digits.len() > 1 || digits.len() < text.len());
    !digits.is_empty() && !leading && digits.bytes().all(|b| b.is_ascii_digit())
}

/// A plain integer, or one with a fraction: `0.5`, `-12.25`.
fn plain_decimal(text: &str) -> bool {
    let Some((whole, fraction)) = text.split_once('.') else {
        return plain_integer(text);
    };
    let whole_ok = plain_integer(whole) || whole == "-0";
    whole_ok && !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit())
}

/// The one media type of a request, in lower case; text in another charset than UTF-8 is refused.
pub(crate) fn media_type(headers: &HeaderMap) -> Result<String, &'static str> {
    let mut all = headers.get_all(header::CONTENT_TYPE).iter();
    let Some(first) = all.next() else {
        return Err("content-type is missing");
    };
    if all.next().is_some() {
        return Err("content-type stands more than once");
    }
    let text = first
        .to_str()
        .ok()
        .ok_or("content-type is not plain text")?
        .to_ascii_lowercase();
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default().to_owned();
    let foreign = |part: &str| {
        part.strip_prefix("charset=")
            .is_some_and(|charset| !matches!(charset.trim_matches('"'), "utf-8" | "us-ascii"))
    };
    if parts.any(foreign) {
        return Err("only UTF-8 is read");
    }
    Ok(media)
}

/// At most 64 characters of a text, for messages.
pub(crate) fn shorten(text: &str) -> String {
    const CHARS_MAX: usize = 64;
    let mut out: String = text.chars().take(CHARS_MAX).collect();
    if out.len() < text.len() {
        out = out.chars().take(CHARS_MAX - 3).collect();
        out.push_str("...");
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(property: &Value, text: &str, expect: Option<&Value>) {
        let field = Field::of("p", property, &Value::Null, List::No).unwrap();
        let got = field.read("query", &[Text::plain(text)]);
        assert_eq!(got.ok().as_ref(), expect, "{text}");
    }

    #[test]
    fn a_text_has_one_meaning_or_none() {
        for (text, expect) in [
            ("17", Some(json!(17))),
            ("-17", Some(json!(-17))),
            ("0", Some(json!(0))),
            ("18446744073709551615", Some(json!(u64::MAX))),
            ("18446744073709551616", None),
            ("1e3", None),
            ("1.0", None),
            ("+1", None),
            ("-0", None),
            ("01", None),
            ("0x10", None),
            (" 1", None),
            ("", None),
            ("\u{0661}", None),
        ] {
            check(&json!({"type": "integer"}), text, expect.as_ref());
        }
        check(&json!({"type": "number"}), "0.5", Some(&json!(0.5)));
        check(&json!({"type": "number"}), "5", Some(&json!(5)));
        check(&json!({"type": "number"}), "1e3", None);
        check(&json!({"type": "number"}), ".5", None);
        check(&json!({"type": "number"}), "inf", None);
        check(&json!({"type": "boolean"}), "true", Some(&json!(true)));
        check(&json!({"type": "boolean"}), "1", None);
        check(&json!({"type": "boolean"}), "True", None);
        check(
            &json!({"type": ["integer", "string"]}),
            "5",
            Some(&json!("5")),
        );
        check(&json!({"enum": [1, 2]}), "2", Some(&json!(2)));
        check(&json!({}), "5", Some(&json!("5")));
    }

    #[test]
    fn lists_are_read_as_they_are_declared() {
        let labels = json!({"type": "array", "items": {"type": "integer"}});
        let read = |list, texts: &[&str]| {
            let field = Field::of("p", &labels, &Value::Null, list).unwrap();
            let raw = texts
                .iter()
                .map(|text| format!("p={text}"))
                .collect::<Vec<_>>()
                .join("&");
            let texts: Vec<Text> = pairs("query", &raw)
                .unwrap()
                .into_iter()
                .map(|(_, text)| text)
                .collect();
            field.read("query", &texts).ok()
        };
        assert_eq!(read(List::Repeated, &["1", "2"]), Some(json!([1, 2])));
        assert_eq!(read(List::Repeated, &["1,2"]), None);
        assert_eq!(read(List::Comma, &["1,2"]), Some(json!([1, 2])));
        assert_eq!(read(List::Comma, &["1%2C2"]), None);
        assert_eq!(read(List::Comma, &["1", "2"]), None);
        assert!(Field::of("p", &json!({"type": "object"}), &Value::Null, List::No).is_err());
    }

    proptest! {
        #[test]
        fn integers_survive_the_wire(number: i64) {
            check(&json!({"type": "integer"}), &number.to_string(), Some(&json!(number)));
        }

        #[test]
        fn what_reads_as_a_number_prints_as_it_stood(text in "-?[0-9]{1,20}") {
            if let Ok(Value::Number(number)) = typed(Types::INTEGER, &text) {
                prop_assert_eq!(number.to_string(), text);
            }
        }

        #[test]
        fn any_text_survives_a_form(name in "[a-z]{1,4}", value in ".{0,12}") {
            let escape = |text: &str| text.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
            let read = pairs("query", &format!("{}={}", escape(&name), escape(&value))).unwrap();
            prop_assert_eq!(&read[0].0, &name);
            prop_assert_eq!(&read[0].1.decoded, &value);
        }
    }
}
