//! The kind `sigv4`: requests that are signed with an access key of AWS.

use std::sync::Arc;

use exeat_custody::{Kind, SigV4};
use exeat_types::{
    Report,
    config::{Item, Table},
};

pub(super) fn sigv4(table: &Table<'_>, _: &Item<'_>, report: &mut Report) -> Option<Kind> {
    let access_key_id = table
        .get("access-key-id")
        .and_then(|item| item.text(report));
    let services = words(table, "services", report);
    let regions = words(table, "regions", report);
    Some(Kind::Made(Arc::new(SigV4 {
        access_key_id: access_key_id.map(str::to_owned),
        services: services?,
        regions: regions?,
    })))
}

/// A list of services or regions, which has no default: it says what the key may be used for.
fn words(table: &Table<'_>, key: &'static str, report: &mut Report) -> Option<Vec<String>> {
    let list = table.need(key, report)?;
    let mut words = Vec::new();
    for item in list.items(report) {
        let text = item.text(report)?;
        if !SigV4::is_word(text) {
            item.problem(report, format!("`{text}` is none of the {key} of AWS"))
                .help("expected lower-case letters, digits and hyphens, such as `eu-west-1`");
            return None;
        }
        words.push(text.to_owned());
    }
    if words.is_empty() {
        list.problem(report, "an empty list lets the key sign nothing");
        return None;
    }
    Some(words)
}
