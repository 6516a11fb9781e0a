//! What a call costs, as the operator declares it: a fixed price, or an argument of the call.
//!
//! SECURITY: an argument that is no amount costs more than any budget holds; it is never free.

use exeat_types::{Money, Report, config::Table, did_you_mean};
use serde_json::Value;

use crate::{Arguments, Tool};

/// Most decimals of an argument that counts in a smaller unit, such as cents.
const DECIMALS_MAX: u64 = 6;

/// What a call of a tool costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cost {
    /// Always this.
    Fixed(Money),
    /// What an argument says.
    Argument {
        /// Its flat name, as rules use it.
        name: String,
        /// The currency.
        currency: String,
        /// How many decimals the argument leaves out: 2 if it counts cents.
        decimals: u32,
    },
}

impl Cost {
    /// The unit that it is counted in, such as `USD-6`.
    pub fn unit(&self) -> String {
        match self {
            Self::Fixed(money) => money.unit(),
            Self::Argument { currency, .. } => format!("{currency}-6"),
        }
    }

    /// The currency.
    pub fn currency(&self) -> &str {
        match self {
            Self::Fixed(money) => money.currency(),
            Self::Argument { currency, .. } => currency,
        }
    }

    /// Reads `cost = "0.01 USD"` or `cost = { argument = "amount", currency = "USD", decimals = 2 }`.
    pub(crate) fn read(table: &Table<'_>, report: &mut Report) -> Option<Self> {
        let item = table.get("cost")?;
        if !item.is_table() {
            return item.parse(report).map(Self::Fixed);
        }
        let table = item.table(report)?;
        let name = table.need("argument", report);
        let name = name.and_then(|item| item.text(report));
        let currency = table.need("currency", report).and_then(|item| {
            match Money::new(0, item.text(report)?) {
                Ok(money) => Some(money),
                Err(problem) => {
                    item.problem(report, problem.to_string());
                    None
                }
            }
        });
        let decimals = table.get("decimals").and_then(|item| {
            let decimals = item.count(report)?;
            if decimals > DECIMALS_MAX {
                item.problem(report, format!("expected at most {DECIMALS_MAX} decimals"));
            }
            u32::try_from(decimals).ok()
        });
        table.finish(report);
        Some(Self::Argument {
            name: name?.to_owned(),
            currency: currency?.currency().to_owned(),
            decimals: decimals.unwrap_or(0),
        })
    }

    /// An argument that tells the cost has to be one that the tool declares, and that a request cannot leave out.
    pub(crate) fn check(tool: &Tool, table: &Table<'_>, report: &mut Report) {
        let Some(Self::Argument { name, .. }) = &tool.cost else {
            return;
        };
        if tool.argument_names().any(|known| known == name) {
            return;
        }
        let message =
            format!("`cost` names the argument `{name}`, which the tool does not declare");
        let near = did_you_mean(name, tool.argument_names());
        let problem = report.at(table.source(), table.span(), message);
        near.map(|near| problem.help(format!("did you mean `{near}`?")));
    }
}

impl Tool {
    /// What a call costs; nothing if the tool declares no cost.
    pub fn cost_of(&self, arguments: &Arguments) -> Option<Money> {
        match self.cost.as_ref()? {
            Cost::Fixed(money) => Some(money.clone()),
            Cost::Argument {
                name,
                currency,
                decimals,
            } => {
                let said = self.argument(arguments, name);
                let amount = said.and_then(|value| amount(value, *decimals));
                Money::new(amount.unwrap_or(u64::MAX), currency).ok()
            }
        }
    }
}

/// A number in millionths, exactly.
fn amount(value: &Value, decimals: u32) -> Option<u64> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let money: Money = format!("{text} XXX").parse().ok()?;
    // Rounded up: what is lost behind the sixth decimal is not free.
    Some(money.amount.div_ceil(10_u64.checked_pow(decimals)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_argument_is_an_amount_or_costs_more_than_anything() {
        for (value, decimals, expect) in [
            (json!(12), 0, Some(12_000_000)),
            (json!(1250), 2, Some(12_500_000)),
            (json!("12.50"), 0, Some(12_500_000)),
            (json!(12.5), 0, Some(12_500_000)),
            (json!(0), 2, Some(0)),
            (json!("0.000001"), 2, Some(1)),
            (json!(-1), 0, None),
            (json!("-1"), 0, None),
            (json!("1e3"), 0, None),
            (json!(1e30), 0, None),
            (json!("all of it"), 0, None),
            (json!(null), 0, None),
            (json!([1]), 0, None),
        ] {
            assert_eq!(amount(&value, decimals), expect, "{value}");
        }
    }
}
