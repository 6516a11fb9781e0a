//! Budgets as an operator tightens them while the gate runs.
//!
//! INVARIANT: nothing here widens what policy allows. A limit that is set holds besides that of `policy.toml`; the smaller
//! of the two counts, in the ledger, also after the file has changed.

use exeat_ledger::{BudgetChange, Record};
use exeat_types::{Malformed, amount_in_words, did_you_mean, limits, parse_amount};

use crate::{Gate, Usage};

/// Why a budget was not set.
#[derive(Debug, thiserror::Error)]
pub enum NotSet {
    /// No limit in force declares it.
    #[error("there is no budget `{budget}`{}", near.as_ref().map(|near| format!(": did you mean `{near}`?")).unwrap_or_default())]
    Unknown {
        /// What was asked for.
        budget: String,
        /// What it may have meant.
        near: Option<String>,
    },
    /// It would be more than policy allows.
    #[error("policy allows `{budget}` no more than {limit}: raise it in policy.toml")]
    Wider {
        /// The budget.
        budget: String,
        /// The most that policy says, in words.
        limit: String,
    },
    /// It is no amount of what the budget counts.
    #[error("this is no limit of `{budget}`")]
    Malformed {
        /// The budget.
        budget: String,
        /// What is wrong with it.
        #[source]
        cause: Malformed,
    },
    /// It could not be written.
    #[error("the ledger could not keep the change")]
    NotKept(#[source] exeat_ledger::Error),
}

impl Gate {
    /// Sets the most that a budget may come to, as people write it (`3.00 USD`), below what policy says; nothing takes back
    /// what was set before.
    ///
    /// # Errors
    /// When there is no such budget, when it is no amount, when policy allows less, or when the ledger fails.
    pub async fn set_budget(
        &self,
        budget: &str,
        limit: Option<&str>,
        by: &str,
    ) -> Result<(), NotSet> {
        let all = self.usage();
        let declared = all.iter().find(|usage| usage.budget == budget);
        let mut change = match (limit, declared) {
            (Some(text), Some(usage)) => tightened(usage, text)?,
            (None, Some(usage)) => change(usage, None),
            (_, None) => {
                // What was set once can be taken back, also if no limit declares the budget any more.
                let left = self
                    .ledger
                    .budget(budget)
                    .filter(|known| known.set.is_some());
                match (limit, left) {
                    (None, Some(left)) => BudgetChange {
                        budget: budget.to_owned(),
                        by: None,
                        limit: None,
                        unit: left.unit,
                    },
                    _ => return Err(unknown(budget, &all)),
                }
            }
        };
        change.by = Some(by.to_owned());
        let written = self.ledger.append(&Record::BudgetChange(change)).done();
        match tokio::time::timeout(limits::JOURNAL_TIMEOUT, written).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(NotSet::NotKept(error)),
            Err(_late) => Err(NotSet::NotKept(exeat_ledger::Error::Late)),
        }
    }
}

fn tightened(usage: &Usage, text: &str) -> Result<BudgetChange, NotSet> {
    let budget = usage.budget.clone();
    let limit = parse_amount(text, &usage.unit).map_err(|cause| NotSet::Malformed {
        budget: budget.clone(),
        cause,
    })?;
    if limit > usage.limit {
        let limit = amount_in_words(usage.limit, &usage.unit);
        return Err(NotSet::Wider { budget, limit });
    }
    Ok(change(usage, Some(limit)))
}

fn change(usage: &Usage, limit: Option<u64>) -> BudgetChange {
    BudgetChange {
        budget: usage.budget.clone(),
        by: None,
        limit,
        unit: usage.unit.clone(),
    }
}

fn unknown(budget: &str, all: &[Usage]) -> NotSet {
    let names = all.iter().map(|usage| &*usage.budget);
    NotSet::Unknown {
        budget: budget.to_owned(),
        near: did_you_mean(budget, names).map(str::to_owned),
    }
}
