//! Budgets for the operator: what they have come to, and lower limits.

use exeat_ledger::Budget;
use exeat_pipeline::{Gate, NotSet, Usage};

use crate::socket::{BudgetEntry, Failure};

/// Who speaks on the control socket, in records.
const LOCAL: &str = "local";

/// Every budget that the rules declare, and those on which an operator's limit is left.
pub(crate) fn list(gate: &Gate) -> Vec<BudgetEntry> {
    let mut entries: Vec<_> = gate.usage().into_iter().map(declared).collect();
    for (name, left) in gate.ledger().budgets() {
        if left.set.is_some() && entries.iter().all(|entry| entry.budget != name) {
            entries.push(undeclared(name, &left));
        }
    }
    entries
}

/// Sets a limit below what policy says, or takes one back.
pub(crate) async fn set(
    gate: &Gate,
    budget: &str,
    limit: Option<&str>,
) -> Result<BudgetEntry, Failure> {
    let set = gate.set_budget(budget, limit, LOCAL).await;
    set.map_err(|refused| {
        let help = match &refused {
            NotSet::Unknown { .. } => Some("`exeat budget list` names them"),
            NotSet::Wider { .. } => Some("what is set here can only be less"),
            NotSet::Malformed { .. } | NotSet::NotKept(_) => None,
        };
        let failure = Failure::from(anyhow::Error::new(refused));
        match help {
            Some(help) => failure.help(help),
            None => failure,
        }
    })?;
    let entries = list(gate).into_iter();
    let entry = entries.into_iter().find(|entry| entry.budget == budget);
    Ok(entry.unwrap_or_else(|| undeclared(budget.to_owned(), &Budget::default())))
}

fn declared(usage: Usage) -> BudgetEntry {
    BudgetEntry {
        budget: usage.budget,
        agent: usage.agent,
        measure: Some(usage.measure.name().to_owned()),
        period: Some(usage.period.to_string()),
        unit: usage.unit,
        limit: Some(usage.limit),
        set: usage.set,
        spent: usage.spent,
        reserved: usage.reserved,
        held: usage.held,
        free: usage.free,
        resets: usage.resets,
    }
}

fn undeclared(budget: String, left: &Budget) -> BudgetEntry {
    BudgetEntry {
        budget,
        agent: None,
        measure: None,
        period: None,
        unit: left.unit.clone(),
        limit: None,
        set: left.set,
        spent: left.spent,
        reserved: left.reserved,
        held: left.held,
        free: left.free().unwrap_or(0),
        resets: None,
    }
}
