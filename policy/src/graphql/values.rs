//! The arguments of one field as JSON: literals as they stand, variables by what the request gives for them.

use std::collections::HashMap;

use apollo_parser::cst::{CstNode as _, Field, OperationDefinition, Value as Literal};
use exeat_types::Malformed;
use serde_json::{Map, Number, Value};

use super::{document::text_of, wrong};

/// Most that variables may add, as each can stand in many places.
const VARIABLES_WEIGHT_MAX: usize = 8 * 1024 * 1024;

/// The arguments of the one field at the top of an operation.
pub(super) fn arguments(
    operation: &OperationDefinition,
    tops: &[Field],
    given: &Map<String, Value>,
) -> Result<Value, Malformed> {
    let mut wanted = Vec::new();
    for field in tops {
        let name = field
            .name()
            .ok_or_else(|| wrong("a field without a name"))?;
        if text_of(&name)? != "__typename" {
            wanted.push(field);
        }
    }
    let [field] = &*wanted else {
        return Err(wrong("this tool takes exactly one field at the top"));
    };
    let mut variables = Variables::declared(operation, given)?;
    let mut out = Map::new();
    let list = field.arguments();
    for argument in list.iter().flat_map(|list| list.arguments()) {
        let (Some(name), Some(value)) = (argument.name(), argument.value()) else {
            return Err(wrong("an argument without a name or a value"));
        };
        insert(&mut out, text_of(&name)?, variables.value(&value)?)?;
    }
    Ok(Value::Object(out))
}

/// Puts a member into an object; a variable without a value leaves it out.
fn insert(
    out: &mut Map<String, Value>,
    name: String,
    value: Option<Value>,
) -> Result<(), Malformed> {
    if out.contains_key(&name) {
        return Err(wrong("the same argument stands twice"));
    }
    if let Some(value) = value {
        out.insert(name, value);
    }
    Ok(())
}

/// The variables of an operation, each with what it stands for.
struct Variables {
    known: HashMap<String, Option<Value>>,
    weight: usize,
}

impl Variables {
    fn declared(
        operation: &OperationDefinition,
        given: &Map<String, Value>,
    ) -> Result<Self, Malformed> {
        let mut variables = Self {
            known: HashMap::new(),
            weight: 0,
        };
        let list = operation.variable_definitions();
        for definition in list.iter().flat_map(|list| list.variable_definitions()) {
            let name = definition.variable().and_then(|variable| variable.name());
            let name = text_of(&name.ok_or_else(|| wrong("a variable without a name"))?)?;
            let standing = definition.default_value().and_then(|value| value.value());
            let value = match (given.get(&name), standing) {
                (Some(value), _) => Some(value.clone()),
                // A default holds no variables, and none is known yet that it could use.
                (None, Some(literal)) => Self::none().value(&literal)?,
                (None, None) => None,
            };
            if variables.known.insert(name, value).is_some() {
                return Err(wrong("the same variable is declared twice"));
            }
        }
        Ok(variables)
    }

    fn none() -> Self {
        Self {
            known: HashMap::new(),
            weight: 0,
        }
    }

    /// What a literal says; `None` for a variable that has no value.
    fn value(&mut self, literal: &Literal) -> Result<Option<Value>, Malformed> {
        let text = || literal.syntax().text().to_string();
        Ok(Some(match literal {
            Literal::Variable(variable) => {
                let name = variable.name();
                let name = text_of(&name.ok_or_else(|| wrong("a variable without a name"))?)?;
                let known = self.known.get(&name);
                let known = known.ok_or_else(|| wrong("a variable that is not declared"))?;
                self.weight = self.weight.saturating_add(known.as_ref().map_or(0, weight));
                if self.weight > VARIABLES_WEIGHT_MAX {
                    return Err(wrong("variables stand in too many places"));
                }
                return Ok(known.clone());
            }
            Literal::StringValue(text) => Value::String(String::from(text.clone())),
            Literal::IntValue(_) => Value::Number(integer(text().trim())?),
            Literal::FloatValue(_) => {
                let number = text().trim().parse().ok().and_then(Number::from_f64);
                Value::Number(number.ok_or_else(|| wrong("a number that is too large"))?)
            }
            Literal::BooleanValue(value) => Value::Bool(value.true_token().is_some()),
            Literal::NullValue(_) => Value::Null,
            Literal::EnumValue(value) => {
                let name = value.name();
                Value::String(text_of(&name.ok_or_else(|| wrong("an empty value"))?)?)
            }
            Literal::ListValue(list) => {
                let mut items = Vec::new();
                for item in list.values() {
                    items.push(self.value(&item)?.unwrap_or(Value::Null));
                }
                Value::Array(items)
            }
            Literal::ObjectValue(object) => {
                let mut members = Map::new();
                for field in object.object_fields() {
                    let (Some(name), Some(value)) = (field.name(), field.value()) else {
                        return Err(wrong("a member without a name or a value"));
                    };
                    let value = self.value(&value)?;
                    insert(&mut members, text_of(&name)?, value)?;
                }
                Value::Object(members)
            }
        }))
    }
}

fn integer(text: &str) -> Result<Number, Malformed> {
    let signed = text.parse::<i64>().map(Number::from);
    signed
        .or_else(|_| text.parse::<u64>().map(Number::from))
        .map_err(|_cause| wrong("a number that is too large"))
}

/// About how much memory a value takes.
fn weight(value: &Value) -> usize {
    const EACH: usize = 32;
    let inner = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(members) => {
            let member =
                |(name, value): (&String, &Value)| name.len().saturating_add(weight(value));
            members.iter().map(member).sum()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    EACH.saturating_add(inner)
}
