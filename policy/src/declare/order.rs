//! Reads what lets a tool's calls in: one `credential`, or `credentials` in the order in which they are tried.

use std::ops::Range;

use exeat_types::{
    CredentialId, Report,
    config::{Item, Table},
};

use crate::Strategy;

/// The word in the list that is no credential.
pub(crate) const PAYMENT: &str = "payment";

/// What lets calls in, and where each was written.
#[derive(Clone, Default)]
pub(super) struct Order {
    pub(super) first: Option<CredentialId>,
    pub(super) otherwise: Vec<Strategy>,
    pub(super) written: Vec<(CredentialId, Range<usize>)>,
}

/// Reads it, if the table says anything about it.
pub(super) fn order(table: &Table<'_>, report: &mut Report) -> Option<Order> {
    match (table.get("credential"), table.get("credentials")) {
        (None, None) => None,
        (Some(one), None) => {
            let id: CredentialId = one.parse(report)?;
            Some(Order {
                first: Some(id.clone()),
                otherwise: Vec::new(),
                written: vec![(id, one.span())],
            })
        }
        (None, Some(list)) => several(list, report),
        (Some(one), Some(_)) => {
            one.problem(report, "`credential` and `credentials` say the same")
                .help("keep the list, and put this one into its place there");
            None
        }
    }
}

fn several(list: Item<'_>, report: &mut Report) -> Option<Order> {
    let items = list.items(report);
    let last = items.len().saturating_sub(1);
    let mut order = Order::default();
    for (index, item) in items.into_iter().enumerate() {
        if item.text(&mut Report::new()) == Some(PAYMENT) {
            if index != last || index == 0 {
                item.problem(report, "paying is what is left when no credential is there")
                    .help("put `payment` last, behind a credential");
            }
            order.otherwise.push(Strategy::Payment);
            continue;
        }
        let Some(id) = item.parse::<CredentialId>(report) else {
            continue;
        };
        if order.written.iter().any(|(known, _)| *known == id) {
            item.problem(report, format!("`{id}` stands twice in the order"));
            continue;
        }
        order.written.push((id.clone(), item.span()));
        match order.first {
            None => order.first = Some(id),
            Some(_) => order.otherwise.push(Strategy::Credential(id)),
        }
    }
    if order.first.is_none() {
        list.problem(report, "expected at least one credential")
            .help("such as `credentials = [\"visa\", \"github\", \"payment\"]`");
    }
    Some(order)
}
