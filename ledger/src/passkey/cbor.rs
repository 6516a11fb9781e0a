//! The little CBOR (RFC 8949) that keys and attestation objects need: one item, bounded, no name twice.

use ciborium::Value;

use super::wrong;
use crate::Error;

/// How deep an attestation object is, with room for statements that are not read.
const DEPTH_MAX: usize = 8;

/// Takes one item off the front of some bytes.
pub(super) fn item(bytes: &mut &[u8]) -> Result<Value, Error> {
    ciborium::de::from_reader_with_recursion_limit(&mut *bytes, DEPTH_MAX)
        .map_err(|_cause| wrong("not CBOR"))
}

/// Takes a map off the front of some bytes.
pub(super) fn map(bytes: &mut &[u8]) -> Result<Map, Error> {
    match item(bytes)? {
        Value::Map(members) => Map::new(members),
        _ => Err(wrong("expected a CBOR map")),
    }
}

/// The members of a map, each of another name.
pub(super) struct Map(Vec<(Value, Value)>);

impl Map {
    fn new(members: Vec<(Value, Value)>) -> Result<Self, Error> {
        for (at, (name, _)) in members.iter().enumerate() {
            if members.iter().skip(at + 1).any(|(other, _)| other == name) {
                return Err(wrong("a CBOR name stands twice"));
            }
        }
        Ok(Self(members))
    }

    fn member(&self, name: &Value) -> Option<&Value> {
        self.0
            .iter()
            .find(|(one, _)| one == name)
            .map(|(_, value)| value)
    }

    /// The bytes under a text name.
    pub(super) fn named(&self, name: &str) -> Option<&[u8]> {
        self.member(&Value::Text(name.to_owned()))?
            .as_bytes()
            .map(Vec::as_slice)
    }

    /// The bytes under a number.
    pub(super) fn bytes(&self, label: i64) -> Option<&[u8]> {
        self.member(&Value::from(label))?
            .as_bytes()
            .map(Vec::as_slice)
    }

    /// The number under a number.
    pub(super) fn number(&self, label: i64) -> Option<i64> {
        let value = self.member(&Value::from(label))?.as_integer()?;
        i64::try_from(value).ok()
    }
}
