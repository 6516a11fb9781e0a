//! What values look like: the tightest schema that takes every value that was seen, but names none of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::doubt;

/// Objects and arrays within each other that are looked into.
const DEPTH_MAX: usize = 8;

/// What a piece of a path looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Number,
    Date,
    Uuid,
    Hash,
    Token,
    Word,
}

impl Kind {
    pub(super) fn of(text: &str) -> Self {
        let all = |fits: fn(&u8) -> bool| !text.is_empty() && text.as_bytes().iter().all(fits);
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        if all(u8::is_ascii_digit) && text.len() <= 20 {
            return Self::Number;
        }
        if looks_like(text, "dddd-dd-dd") {
            return Self::Date;
        }
        if looks_like(text, "hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh") {
            return Self::Uuid;
        }
        if all(u8::is_ascii_hexdigit) && text.len() >= 7 && digits > 0 {
            return Self::Hash;
        }
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if all(plain) && text.len() >= 16 && doubt::looks_random(text) {
            return Self::Token;
        }
        Self::Word
    }

    /// Whether it looks as if it were made of random characters.
    pub(super) fn is_random(self) -> bool {
        matches!(self, Self::Hash | Self::Token)
    }

    /// Whether it names one thing of many, so that a path template has a parameter there.
    pub(super) fn is_id(self) -> bool {
        self != Self::Word
    }
}

/// `d` stands for a digit, `h` for a hexadecimal one.
fn looks_like(text: &str, form: &str) -> bool {
    let fits = |(byte, form): (u8, u8)| match form {
        b'd' => byte.is_ascii_digit(),
        b'h' => byte.is_ascii_hexdigit(),
        other => byte == other,
    };
    text.len() == form.len() && text.bytes().zip(form.bytes()).all(fits)
}

/// A schema of strings that takes all of these.
pub(super) fn of_texts(values: &BTreeSet<&str>) -> Value {
    let mut alternatives = BTreeSet::new();
    for value in values {
        match pattern(value, values) {
            Some(pattern) => alternatives.insert(pattern),
            // Something that no pattern of ours says: only its length is bounded.
            None => return json!({ "type": "string", "maxLength": chars_max(values) }),
        };
    }
    let alternatives: Vec<String> = alternatives.into_iter().collect();
    let pattern = match &*alternatives {
        [one] => format!("^{one}$"),
        several => format!("^(?:{})$", several.join("|")),
    };
    json!({ "type": "string", "pattern": pattern })
}

/// The same for parameters of a query, where numbers and truth values are told apart.
pub(super) fn of_parameters(values: &BTreeSet<&str>) -> Value {
    let whole = |text: &&str| text.parse::<i64>().is_ok_and(|n| n.to_string() == **text);
    if values.iter().all(whole) {
        let negative = values.iter().any(|text| text.starts_with('-'));
        return match negative {
            true => json!({ "type": "integer" }),
            false => json!({ "type": "integer", "minimum": 0 }),
        };
    }
    if values.iter().all(|text| matches!(*text, "true" | "false")) {
        return json!({ "type": "boolean" });
    }
    of_texts(values)
}

fn pattern(value: &str, values: &BTreeSet<&str>) -> Option<String> {
    let kind = Kind::of(value);
    let alike = values.iter().filter(|other| Kind::of(other) == kind);
    let lengths: BTreeSet<usize> = alike.clone().map(|text| text.len()).collect();
    let (least, most) = (lengths.first()?, lengths.last()?);
    let span = match least == most {
        true => format!("{{{least}}}"),
        false => format!("{{{least},{most}}}"),
    };
    Some(match kind {
        Kind::Number => "[0-9]{1,20}".to_owned(),
        Kind::Date => "[0-9]{4}-[0-9]{2}-[0-9]{2}".to_owned(),
        Kind::Uuid => "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}".to_owned(),
        Kind::Hash => format!("[0-9a-fA-F]{span}"),
        Kind::Token => format!("[0-9A-Za-z_-]{span}"),
        Kind::Word => {
            let class = class(alike.flat_map(|text| text.chars()))?;
            format!(
                "[{class}]{{{},{}}}",
                usize::from(*least > 0),
                rounded(*most)
            )
        }
    })
}

/// The characters of words, as a class; nothing if they hold one that is not a plain character of a URL.
fn class(chars: impl Iterator<Item = char>) -> Option<String> {
    let mut class = "0-9A-Za-z".to_owned();
    let mut others = BTreeSet::new();
    for c in chars.filter(|c| !c.is_ascii_alphanumeric()) {
        if !"-._~!$&'()*+,;=:@ /".contains(c) {
            return None;
        }
        others.insert(c);
    }
    for c in others {
        class.push('\\');
        class.push(c);
    }
    Some(class.replace("\\ ", " ").replace("\\/", "/"))
}

fn chars_max(values: &BTreeSet<&str>) -> usize {
    let longest = values.iter().map(|text| text.chars().count()).max();
    rounded(longest.unwrap_or(0))
}

/// Some room for what is alike: the next power of two, and 16 at least.
fn rounded(length: usize) -> usize {
    length.next_power_of_two().max(16)
}

/// A closed schema that takes all of these bodies.
pub(super) fn of_bodies(values: &[&Value], depth: usize) -> Value {
    let mut types = BTreeSet::new();
    let mut schema = Map::new();
    for value in values {
        types.insert(match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        });
    }
    if types.contains("number") {
        types.remove("integer");
    }
    let kind = match types.len() {
        1 => json!(types.first()),
        _ => json!(types),
    };
    schema.insert("type".to_owned(), kind);
    let texts: BTreeSet<&str> = values.iter().filter_map(|value| value.as_str()).collect();
    if !texts.is_empty() {
        schema.insert("maxLength".to_owned(), json!(chars_max(&texts)));
    }
    if depth < DEPTH_MAX {
        add_items(&mut schema, values, depth);
        add_members(&mut schema, values, depth);
    }
    Value::Object(schema)
}

fn add_items(schema: &mut Map<String, Value>, values: &[&Value], depth: usize) {
    let arrays = values.iter().filter_map(|value| value.as_array());
    let longest = arrays.clone().map(Vec::len).max();
    let items: Vec<&Value> = arrays.flatten().collect();
    if let Some(longest) = longest {
        schema.insert("maxItems".to_owned(), json!(rounded(longest)));
        if !items.is_empty() {
            schema.insert(
                "items".to_owned(),
                of_bodies(&items, depth.saturating_add(1)),
            );
        }
    }
}

fn add_members(schema: &mut Map<String, Value>, values: &[&Value], depth: usize) {
    let objects: Vec<_> = values
        .iter()
        .filter_map(|value| value.as_object())
        .collect();
    if objects.is_empty() {
        return;
    }
    let mut members: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for (name, value) in objects.iter().flat_map(|object| object.iter()) {
        members.entry(name).or_default().push(value);
    }
    let always = members
        .iter()
        .filter(|(_, seen)| seen.len() == objects.len());
    let always: Vec<&str> = always.map(|(name, _)| *name).collect();
    if !always.is_empty() {
        schema.insert("required".to_owned(), json!(always));
    }
    schema.insert("additionalProperties".to_owned(), json!(false));
    let below = depth.saturating_add(1);
    let properties = members
        .iter()
        .map(|(name, seen)| ((*name).to_owned(), of_bodies(seen, below)));
    schema.insert("properties".to_owned(), Value::Object(properties.collect()));
}

/// The names of members anywhere in a body.
pub(super) fn member_names<'v>(value: &'v Value, names: &mut BTreeSet<&'v str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| member_names(item, names)),
        Value::Object(members) => {
            for (name, member) in members {
                names.insert(name);
                member_names(member, names);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[&str], expect: &str) {
        let schema = of_texts(&values.iter().copied().collect());
        assert_eq!(schema["pattern"], expect, "{values:?}");
        let validator = jsonschema::validator_for(&schema).unwrap();
        for value in values {
            assert!(validator.is_valid(&json!(value)), "{value} in {schema}");
        }
    }

    #[test]
    fn a_pattern_takes_what_was_seen_and_what_is_alike() {
        check(&["1", "4711"], "^[0-9]{1,20}$");
        check(&["2026-01-31"], "^[0-9]{4}-[0-9]{2}-[0-9]{2}$");
        check(&["d41d8cd98f00b204"], "^[0-9a-fA-F]{16}$");
        check(&["acme", "a-b"], "^[0-9A-Za-z\\-]{1,16}$");
        check(&["12", "acme"], "^(?:[0-9A-Za-z]{1,16}|[0-9]{1,20})$");
        check(&["src/main.rs", "a b"], "^[0-9A-Za-z \\./]{1,16}$");
    }

    #[test]
    fn parameters_are_typed_where_they_all_fit() {
        let of = |values: &[&str]| of_parameters(&values.iter().copied().collect());
        assert_eq!(of(&["1", "20"]), json!({ "type": "integer", "minimum": 0 }));
        assert_eq!(of(&["01"])["type"], "string");
        assert_eq!(of(&["true", "false"]), json!({ "type": "boolean" }));
        assert_eq!(
            of(&["\u{202e}x"]),
            json!({ "type": "string", "maxLength": 16 })
        );
    }

    #[test]
    fn bodies_are_closed_and_take_what_was_seen() {
        let seen = [
            json!({ "title": "a", "labels": ["x"], "n": 1 }),
            json!({ "title": "b", "n": null }),
        ];
        let all: Vec<&Value> = seen.iter().collect();
        let schema = of_bodies(&all, 0);
        assert_eq!(schema["required"], json!(["n", "title"]));
        assert_eq!(
            schema["properties"]["n"]["type"],
            json!(["integer", "null"])
        );
        let validator = jsonschema::validator_for(&schema).unwrap();
        assert!(seen.iter().all(|body| validator.is_valid(body)));
        assert!(!validator.is_valid(&json!({ "title": "a", "n": 1, "other": 1 })));
    }
}
