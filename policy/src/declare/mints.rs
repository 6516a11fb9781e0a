//! `[tool.response] mints`: which secrets a response hands out, by the name of a known form or place by place.

use exeat_types::{
    MintForm, Report,
    config::{Item, Table},
};

use crate::{MintPlace, MintedAt, Mints, Slot};

/// Reads `mints` and `mints-for`.
pub(super) fn mints(table: &Table<'_>, report: &mut Report) -> Mints {
    let item = table.get("mints");
    let hosts = table.get("mints-for");
    let to = hosts.map(|hosts| all(hosts, report));
    let Some(item) = item else {
        if let Some(hosts) = hosts {
            hosts.problem(report, "`mints-for` stands without `mints`");
        }
        return Mints::Nothing;
    };
    if item.is_list() {
        if let Some(hosts) = hosts {
            let problem = hosts.problem(report, "`mints-for` belongs to a form that has a name");
            problem.help("write `to` beside each place");
        }
        let places = item.items(report);
        return Mints::Places(
            places
                .into_iter()
                .filter_map(|place| read_place(place, report))
                .collect(),
        );
    }
    let Some(form) = item.word(report, &MintForm::NAMED) else {
        return Mints::Nothing;
    };
    let elsewhere = matches!(form, MintForm::Sts | MintForm::Registry);
    if elsewhere && to.is_none() {
        let problem = item.problem(report, "`mints-for` is missing");
        problem
            .help("these tokens are for other hosts than the one that hands them out: name them");
    }
    Mints::Form {
        form,
        to: to.unwrap_or_default(),
    }
}

fn read_place(item: Item<'_>, report: &mut Report) -> Option<MintPlace> {
    let table = item.table(report)?;
    let at = table.need("at", report);
    let to = table.need("to", report);
    let slots = table.need("in", report);
    let at = at.and_then(|at| read_at(at, report));
    let to = to.map(|to| all(to, report));
    let slots: Option<Vec<Slot>> = slots.map(|slots| all(slots, report));
    if let (Some(slots), Some(item)) = (&slots, table.get("in"))
        && !slots
            .iter()
            .all(|slot| matches!(slot, Slot::Header(_) | Slot::Query(_) | Slot::Body(_)))
    {
        let problem = item.problem(
            report,
            "a token that a response hands out cannot stand there",
        );
        problem.help("it can stand in `header:`, `query:` and `body:`");
    }
    table.finish(report);
    Some(MintPlace {
        at: at?,
        to: to?,
        slots: slots?,
    })
}

fn read_at(item: Item<'_>, report: &mut Report) -> Option<MintedAt> {
    let text = item.text(report)?;
    let at = match text.strip_prefix("header:") {
        Some(name) => name.parse().ok().map(MintedAt::Header),
        None if text.starts_with('/') => Some(MintedAt::Pointer(text.to_owned())),
        None => None,
    };
    if at.is_none() {
        let problem = item.problem(report, "expected a JSON pointer or a header");
        problem.help("write it as `/auth/token` or `header:x-subject-token`");
    }
    at
}

fn all<T: std::str::FromStr<Err: std::fmt::Display>>(
    item: Item<'_>,
    report: &mut Report,
) -> Vec<T> {
    let items = item.items(report);
    items
        .into_iter()
        .filter_map(|item| item.parse(report))
        .collect()
}
