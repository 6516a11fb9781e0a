//! Kinds that put a secret into the request as it is: `bearer`, `api-key`, `basic`, `slots`.

use std::sync::Arc;

use exeat_custody::{InSlots, Kind};
use exeat_types::{
    Report,
    config::{Item, Table},
};

pub(super) fn bearer(_: &Table<'_>, _: &Item<'_>, _: &mut Report) -> Option<Kind> {
    Some(Kind::Bearer)
}

pub(super) fn slots(_: &Table<'_>, _: &Item<'_>, _: &mut Report) -> Option<Kind> {
    Some(Kind::Made(Arc::new(InSlots)))
}

pub(super) fn api_key(table: &Table<'_>, kind: &Item<'_>, report: &mut Report) -> Option<Kind> {
    match (table.get("header"), table.get("query")) {
        (Some(header), None) => header.parse(report).map(Kind::ApiKeyHeader),
        (None, Some(query)) => query
            .text(report)
            .map(|name| Kind::ApiKeyQuery(name.to_owned())),
        (Some(_), Some(query)) => {
            query
                .problem(report, "an API key travels in one place, not two")
                .help("keep `header` or `query`");
            None
        }
        (None, None) => {
            kind.problem(report, "an API key needs `header` or `query`")
                .help("such as `header = \"x-api-key\"`");
            None
        }
    }
}

pub(super) fn basic(table: &Table<'_>, _: &Item<'_>, report: &mut Report) -> Option<Kind> {
    let username = table.need("username", report)?;
    let text = username.text(report)?;
    if text.contains(':') || text.chars().any(char::is_control) {
        username.problem(
            report,
            "a user name has neither colons nor control characters",
        );
        return None;
    }
    Some(Kind::Basic {
        username: text.to_owned(),
    })
}
