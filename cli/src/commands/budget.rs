//! `exeat budget`: what agents have used of their budgets, and lower limits while the gate runs.

use exeat_types::amount_in_words;

use super::Place;
use crate::{
    args::Budget,
    socket::{BudgetEntry, Request},
    ui::{self, Ending},
};

/// The word that takes a limit back.
const NONE: &str = "none";

pub(super) fn budget(place: &Place, order: Budget) -> anyhow::Result<Ending> {
    match order {
        Budget::List => {
            let entries: Vec<BudgetEntry> = place.gate()?.all(&Request::BudgetList {})?;
            let rows: Vec<[String; 8]> = entries.iter().map(row).collect();
            let heads = [
                "NAME", "LIMIT", "SET", "SPENT", "RESERVED", "HELD", "FREE", "RESETS",
            ];
            place.print_all(&entries, || match rows.is_empty() {
                true => "no budgets are declared: see `[limits.NAME]` in docs/LIMITS.md".to_owned(),
                false => ui::table(heads, &rows),
            })?;
        }
        Budget::Set { budget, limit } => {
            let limit = (limit != NONE).then_some(limit);
            let request = Request::BudgetSet { budget, limit };
            let entry: BudgetEntry = place.gate()?.one(&request, &[])?;
            place.print(&entry, || told(&entry))?;
        }
    }
    Ok(Ending::Done)
}

fn told(entry: &BudgetEntry) -> String {
    let words = |amount| amount_in_words(amount, &entry.unit);
    let name = &entry.budget;
    match (entry.set, entry.limit) {
        (Some(set), _) => format!("{name}: at most {}, {} left", words(set), words(entry.free)),
        (None, Some(limit)) => format!("{name}: at most {}, as policy.toml says", words(limit)),
        (None, None) => format!("{name}: no limit"),
    }
}

fn row(entry: &BudgetEntry) -> [String; 8] {
    let words = |amount| amount_in_words(amount, &entry.unit);
    let maybe = |amount: Option<u64>| amount.map_or_else(|| "-".to_owned(), words);
    let resets = match (&entry.resets, &entry.period) {
        (Some(then), _) => then.to_string(),
        (None, Some(period)) => format!("rolls over {period}"),
        (None, None) => "-".to_owned(),
    };
    [
        entry.budget.clone(),
        maybe(entry.limit),
        maybe(entry.set),
        words(entry.spent),
        words(entry.reserved),
        words(entry.held),
        words(entry.free),
        resets,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> BudgetEntry {
        BudgetEntry {
            budget: "claude/spend/day".to_owned(),
            agent: None,
            measure: Some("spend".to_owned()),
            period: Some("day".to_owned()),
            unit: "USD-6".to_owned(),
            limit: Some(3_000_000),
            set: None,
            spent: 1_250_000,
            reserved: 50_000,
            held: 0,
            free: 1_700_000,
            resets: None,
        }
    }

    #[test]
    fn amounts_are_shown_as_people_write_them() {
        let [name, limit, set, spent, reserved, held, free, resets] = row(&entry());
        assert_eq!(name, "claude/spend/day");
        assert_eq!([limit, set, spent], ["3.00 USD", "-", "1.25 USD"]);
        assert_eq!([reserved, held, free], ["0.05 USD", "0.00 USD", "1.70 USD"]);
        assert_eq!(resets, "rolls over day");
        let plain = told(&entry());
        assert_eq!(
            plain,
            "claude/spend/day: at most 3.00 USD, as policy.toml says"
        );
        let tight = BudgetEntry {
            set: Some(2_000_000),
            free: 700_000,
            ..entry()
        };
        assert_eq!(
            told(&tight),
            "claude/spend/day: at most 2.00 USD, 0.70 USD left"
        );
    }
}
