//! From typed arguments to what Cedar sees: only what a rule reads, exactly typed, or no context at all.

use cedar_policy::RestrictedExpression;
use serde_json::{Map, Value};

use crate::cedar::{Read, Rest, Shape};

/// A value does not have the type that rules were checked against; the call is then denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mismatch;

/// Writes the values that rules read into a key that two calls share only if rules see the same of both.
pub(crate) fn project(plan: &[Read], arguments: &Value, key: &mut Vec<u8>) -> Result<(), Mismatch> {
    for read in plan {
        match value_of(read, arguments) {
            Some(value) => {
                key.push(1);
                project_value(&read.attribute.shape, value, key)?;
            }
            None => key.push(0),
        }
    }
    Ok(())
}

/// The record that rules read as `context.args`.
pub(crate) fn arguments_record(
    plan: &[Read],
    arguments: &Value,
) -> Result<RestrictedExpression, Mismatch> {
    let mut pairs = Vec::new();
    for read in plan {
        if let Some(value) = value_of(read, arguments) {
            pairs.push((
                read.attribute.name.clone(),
                expression(&read.attribute.shape, value)?,
            ));
        }
    }
    RestrictedExpression::new_record(pairs).ok().ok_or(Mismatch)
}

fn value_of<'v>(read: &Read, arguments: &'v Value) -> Option<&'v Value> {
    let section = arguments.get(read.place.section)?;
    match &read.place.member {
        Some(member) => section.get(member),
        None => Some(section),
    }
}

fn project_value(shape: &Shape, value: &Value, key: &mut Vec<u8>) -> Result<(), Mismatch> {
    let mut text = |text: &str, tag: u8| {
        key.push(tag);
        key.extend_from_slice(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        key.extend_from_slice(text.as_bytes());
    };
    match (shape, value) {
        (Shape::Bool, Value::Bool(flag)) => key.push(if *flag { 3 } else { 2 }),
        (Shape::Long, Value::Number(number)) => {
            key.push(4);
            key.extend_from_slice(&number.as_i64().ok_or(Mismatch)?.to_be_bytes());
        }
        (Shape::Text, Value::String(string)) => text(string, 5),
        (Shape::Set(inner), Value::Array(items)) => {
            key.push(6);
            key.extend_from_slice(&u64::try_from(items.len()).unwrap_or(u64::MAX).to_be_bytes());
            for item in items {
                project_value(inner, item, key)?;
            }
        }
        (Shape::Record(attributes, rest), Value::Object(members)) => {
            check_rest(shape, *rest, members)?;
            key.push(7);
            for attribute in attributes {
                match members.get(&attribute.name) {
                    Some(value) => {
                        key.push(1);
                        project_value(&attribute.shape, value, key)?;
                    }
                    None => key.push(0),
                }
            }
        }
        _ => return Err(Mismatch),
    }
    Ok(())
}

fn expression(shape: &Shape, value: &Value) -> Result<RestrictedExpression, Mismatch> {
    match (shape, value) {
        (Shape::Bool, Value::Bool(flag)) => Ok(RestrictedExpression::new_bool(*flag)),
        (Shape::Long, Value::Number(number)) => number
            .as_i64()
            .map(RestrictedExpression::new_long)
            .ok_or(Mismatch),
        (Shape::Text, Value::String(string)) => {
            Ok(RestrictedExpression::new_string(string.clone()))
        }
        (Shape::Set(inner), Value::Array(items)) => {
            let items = items.iter().map(|item| expression(inner, item));
            items
                .collect::<Result<Vec<_>, _>>()
                .map(RestrictedExpression::new_set)
        }
        (Shape::Record(attributes, rest), Value::Object(members)) => {
            check_rest(shape, *rest, members)?;
            let mut pairs = Vec::new();
            for attribute in attributes {
                if let Some(value) = members.get(&attribute.name) {
                    pairs.push((attribute.name.clone(), expression(&attribute.shape, value)?));
                }
            }
            RestrictedExpression::new_record(pairs).ok().ok_or(Mismatch)
        }
        _ => Err(Mismatch),
    }
}

/// A record that is compared as a whole may hold nothing that its type does not say.
fn check_rest(shape: &Shape, rest: Rest, members: &Map<String, Value>) -> Result<(), Mismatch> {
    let Shape::Record(attributes, _) = shape else {
        return Ok(());
    };
    let known = |name: &String| attributes.iter().any(|attribute| attribute.name == *name);
    if rest == Rest::Refused && !members.keys().all(known) {
        Err(Mismatch)
    } else {
        Ok(())
    }
}
