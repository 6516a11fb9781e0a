//! Canonical JSON (RFC 8785), and a reader that refuses what canonical JSON cannot express: duplicate names.
//!
//! Two parsers that disagree on a duplicate key are a way around policy, so JSON that decides something is read here.

use std::fmt;

use serde::{
    Serialize,
    de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use crate::{Malformed, limits::JSON_DEPTH_MAX};

/// Writes a value as RFC 8785 canonical JSON.
///
/// # Errors
/// When the value cannot be written as JSON, such as a map whose keys are not strings.
pub fn canonical_json(value: &impl Serialize) -> Result<Vec<u8>, Malformed> {
    let wrong = |e: serde_json::Error| Malformed::new("canonical json", e.to_string());
    serde_json_canonicalizer::to_vec(value).map_err(wrong)
}

/// Reads JSON, refusing duplicate names and nesting deeper than the limit.
///
/// # Errors
/// Names the place: line and column, and the name that stands twice.
pub fn unique_json(bytes: &[u8]) -> Result<Value, Malformed> {
    let wrong = |e: serde_json::Error| Malformed::new("json", e.to_string());
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Unique { depth: 0 }
        .deserialize(&mut reader)
        .map_err(wrong)?;
    reader.end().map_err(wrong)?;
    Ok(value)
}

struct Unique {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.depth > JSON_DEPTH_MAX {
            return Err(D::Error::custom("nested too deeply"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Self {
            depth: self.depth + 1,
        })? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(Self {
                depth: self.depth + 1,
            })?;
            if members.contains_key(&name) {
                return Err(A::Error::custom(format_args!(
                    "the name `{name}` stands twice"
                )));
            }
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_json_sorts_names_and_writes_numbers_as_rfc_8785_does() {
        // proves RFC 8785 section 3.2.2 and 3.2.3
        let value: Value =
            serde_json::from_str(r#"{"b":[1.0,1e21,"\u000a"],"a":{"z":null,"y":true}}"#).unwrap();
        let text = String::from_utf8(canonical_json(&value).unwrap()).unwrap();
        assert_eq!(text, r#"{"a":{"y":true,"z":null},"b":[1,1e+21,"\n"]}"#);
    }

    #[test]
    fn duplicate_names_and_deep_nesting_are_refused() {
        assert!(unique_json(br#"{"a":1,"b":{"c":2}}"#).is_ok());
        let twice = unique_json(br#"{"a":1,"a":2}"#).unwrap_err();
        assert!(twice.to_string().contains("`a` stands twice"), "{twice}");
        assert!(unique_json(br#"{"x":[{"a":1,"\u0061":2}]}"#).is_err());
        assert!(unique_json("[".repeat(200).as_bytes()).is_err());
        assert!(unique_json(b"{} {}").is_err());
    }
}
