//! `exeat request` and `exeat grant`: what agents may do for a time, beyond their rules.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use exeat_console::visible::spelled;
use exeat_pipeline::Order;
use exeat_types::{
    ApprovalId, Capability,
    capability::{Conditions, Scalar},
};
use serde_json::Value;

use super::Place;
use crate::{
    args::{Ask, AskKind, Grant},
    socket::{GrantAnswer, GrantOrder, Request},
    ui::{self, Ending},
};

pub(super) fn ask(place: &Place, order: &Ask) -> anyhow::Result<Ending> {
    let request = Request::CapabilityAsk {
        agent: order.agent.clone(),
        order: Order {
            capabilities: vec![capability(order)?],
            seconds: u32::try_from(order.time.as_secs()).context("that is too long")?,
            why: order.why.clone(),
        },
    };
    let shown: Value = place.running_gate()?.one(&request, &[])?;
    place.print(&shown, || told(&shown))?;
    Ok(Ending::Done)
}

fn capability(order: &Ask) -> anyhow::Result<Capability> {
    let filter = filters(&order.filters)?;
    let resource = order.resource.clone();
    if order.append_only && order.kind != AskKind::Write {
        bail!("`--append-only` belongs to `write`");
    }
    if (order.max_value.is_some() || order.currency.is_some()) && order.kind != AskKind::Transact {
        bail!("`--max-value` and `--currency` belong to `transact`");
    }
    Ok(match order.kind {
        AskKind::Read => Capability::Read { resource, filter },
        AskKind::Delete => Capability::Delete { resource, filter },
        AskKind::Write => Capability::Write {
            resource,
            conditions: Conditions {
                append_only: order.append_only,
                filter,
                max_items_per_request: None,
            },
        },
        AskKind::Transact if filter.is_empty() => Capability::Transact {
            resource,
            max_value: order
                .max_value
                .context("name the greatest value with `--max-value`")?,
            currency: order.currency.clone(),
        },
        AskKind::Transact => bail!("`--where` does not belong to `transact`"),
        AskKind::Custom => {
            let (namespace, name) = resource
                .split_once('.')
                .context("expected the name of one tool, such as `ci.run`")?;
            Capability::Custom {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                params: filter,
            }
        }
    })
}

/// `name=value`: whole numbers and `true` or `false` are what they look like; quotes make a text of anything.
fn filters(texts: &[String]) -> anyhow::Result<BTreeMap<String, Scalar>> {
    let one = |text: &String| {
        let (name, value) = text
            .split_once('=')
            .with_context(|| format!("expected `name=value`, got `{text}`"))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Scalar::Text(value.to_owned()));
        anyhow::Ok((name.to_owned(), value))
    };
    texts.iter().map(one).collect()
}

pub(super) fn grant(place: &Place, order: Grant) -> anyhow::Result<Ending> {
    let (id, answer) = match order {
        Grant::List => return list(place),
        Grant::Approve {
            id,
            time,
            only,
            confirm,
        } => {
            let seconds = time.map(|time| u32::try_from(time.as_secs())).transpose();
            let answer = GrantAnswer::Approve {
                capabilities: picked(place, &id, &only)?,
                seconds: seconds.context("that is too long")?,
                confirmed: confirm,
            };
            (id, answer)
        }
        Grant::Deny { id } => (id, GrantAnswer::Deny {}),
        Grant::Revoke { id } => (id, GrantAnswer::Revoke {}),
    };
    let order = GrantOrder { grant: id, answer };
    let shown: Value = place
        .running_gate()?
        .one(&Request::GrantAnswer(order), &[])?;
    place.print(&shown, || told(&shown))?;
    Ok(Ending::Done)
}

/// The capabilities that were picked by number; nothing picked is everything.
fn picked(
    place: &Place,
    id: &ApprovalId,
    only: &[usize],
) -> anyhow::Result<Option<Vec<Capability>>> {
    if only.is_empty() {
        return Ok(None);
    }
    let all: Vec<Value> = place.running_gate()?.all(&Request::CapabilityList {})?;
    let found = all
        .into_iter()
        .find(|one| one.get("id").and_then(Value::as_str) == Some(id.as_str()));
    let found = found.context("there is no such request")?;
    let asked: Vec<Capability> =
        serde_json::from_value(found.get("capabilities").cloned().unwrap_or_default())
            .context("cannot read the gate's answer")?;
    let one = |number: &usize| {
        let found = number.checked_sub(1).and_then(|index| asked.get(index));
        found
            .cloned()
            .with_context(|| format!("it asks for {} things, not {number}", asked.len()))
    };
    only.iter().map(one).collect::<Result<_, _>>().map(Some)
}

fn list(place: &Place) -> anyhow::Result<Ending> {
    let all: Vec<Value> = place.running_gate()?.all(&Request::CapabilityList {})?;
    let rows: Vec<[String; 7]> = all.iter().map(row).collect();
    place.print_all(&all, || {
        ui::table(
            ["ID", "STATE", "AGENT", "UNTIL", "FOR", "MAY", "WHY"],
            &rows,
        )
    })?;
    Ok(Ending::Done)
}

fn row(one: &Value) -> [String; 7] {
    let cell = |name: &str| {
        let text = one.get(name).and_then(Value::as_str);
        spelled(text.unwrap_or("-"))
    };
    [
        cell("id"),
        cell("state"),
        cell("agent"),
        cell("expires"),
        seconds(one),
        words(one),
        cell("why"),
    ]
}

fn words(one: &Value) -> String {
    let words = one.get("words").and_then(Value::as_array);
    let words = words.into_iter().flatten().filter_map(Value::as_str);
    spelled(&words.collect::<Vec<_>>().join("; "))
}

/// For how long it is asked for, or was granted.
fn seconds(one: &Value) -> String {
    let seconds = one.get("seconds").and_then(Value::as_u64);
    seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds} s"))
}

fn told(one: &Value) -> String {
    let cell = |name: &str| one.get(name).and_then(Value::as_str).unwrap_or("-");
    let until = match cell("state") {
        "pending" => "to be answered until",
        "approved" => "in force until",
        _ => "it would have ended",
    };
    let grave = match one.get("grave").and_then(Value::as_bool) {
        Some(true) => "\nit moves value, destroys, or may: granting it takes `--confirm`",
        Some(false) | None => "",
    };
    format!(
        "{} is {}: `{}` may {}, for {}\n{until} {}\nwhy: {}{grave}",
        cell("id"),
        cell("state"),
        cell("agent"),
        words(one),
        seconds(one),
        cell("expires"),
        spelled(cell("why")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_as_what_it_looks_like() {
        let texts = ["a=1", "b=true", "c=x=y", "d=\"7\""].map(str::to_owned);
        let read = filters(&texts).unwrap();
        assert_eq!(read["a"], Scalar::Number(1));
        assert_eq!(read["b"], Scalar::Flag(true));
        assert_eq!(read["c"], Scalar::Text("x=y".to_owned()));
        assert_eq!(read["d"], Scalar::Text("7".to_owned()));
        assert!(filters(&["a".to_owned()]).is_err());
    }
}
