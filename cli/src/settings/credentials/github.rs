//! `github-app`: installation tokens of a GitHub App, narrowed for each call.

use std::{collections::BTreeMap, sync::Arc};

use exeat_custody::{GithubApp, Kind, Permissions, Repository, Url};
use exeat_types::{
    Report,
    config::{Item, Table},
};

use super::super::raw::texts;

const API: &str = "https://api.github.com";
const LEVELS: [&str; 3] = ["read", "write", "admin"];

pub(super) fn app(table: &Table<'_>, _: &Item<'_>, report: &mut Report) -> Option<Kind> {
    let app = table.need("app", report).and_then(|item| item.text(report));
    let installation = table.need("installation", report);
    let installation = installation.and_then(|item| item.count(report));
    let named = table.need("repositories", report);
    let repositories: Vec<Repository> = texts(table, "repositories", report)
        .into_iter()
        .map(|repository| repository.value)
        .collect();
    if let Some(named) = named.filter(|_| repositories.is_empty()) {
        named
            .problem(report, "an installation without repositories can do nothing")
            .help("name them, such as `[\"acme/site\"]`, `[\"acme/*\"]`, or `[\"*\"]` for all that it was given");
        return None;
    }
    let api: Url = match table.get("api") {
        Some(item) => item.parse(report)?,
        None => API.parse().ok()?,
    };
    let permissions = permissions(table, report)?;
    Some(Kind::Made(Arc::new(GithubApp {
        app: app?.to_owned(),
        installation: installation?,
        api,
        repositories,
        permissions,
    })))
}

/// `permissions = { read = { contents = "read" }, write = { .. } }`: by the category of tools.
fn permissions(table: &Table<'_>, report: &mut Report) -> Option<BTreeMap<String, Permissions>> {
    let mut all = BTreeMap::new();
    let Some(item) = table.get("permissions") else {
        return Some(all);
    };
    for (category, _span, inner) in item.table(report)?.entries() {
        let mut permissions = Permissions::new();
        for (name, _span, level) in inner.table(report)?.entries() {
            let words = LEVELS.map(|level| (level, level));
            let level = level.word(report, &words)?;
            permissions.insert(name.to_owned(), level.to_owned());
        }
        all.insert(category.to_owned(), permissions);
    }
    Some(all)
}
