//! `entitlement`: a verifiable credential that an issuer gave.

use std::sync::Arc;

use exeat_custody::{
    Kind, Presented, Url,
    entitlement::{Entitlement, Format, UnknownStatus},
    jose::Jwk,
};
use exeat_types::{
    Origin, Report,
    config::{Item, Table},
};
use http::HeaderName;

use super::{
    super::raw::{text, texts},
    origin,
};

pub(super) fn entitlement(table: &Table<'_>, _: &Item<'_>, report: &mut Report) -> Option<Kind> {
    let formats = [("sd-jwt", Format::SdJwt), ("jwt", Format::Jwt)];
    let format = table
        .need("format", report)
        .and_then(|item| item.word(report, &formats));
    let issuer = table.need("issuer", report);
    let named = issuer.as_ref().and_then(|item| item.text(report));
    let issuer_keys = table.need("issuer-keys", report);
    let issuer_keys = issuer_keys.and_then(|item| keys(&item, report));
    let status_keys = match table.get("status-keys") {
        Some(item) => keys(&item, report),
        None => issuer_keys.clone(),
    };
    let authority: Url = match (table.get("offered-by"), issuer) {
        (Some(item), _) | (None, Some(item)) => item.parse(report)?,
        (None, None) => return None,
    };
    let unknown = [
        ("deny", UnknownStatus::Deny),
        ("prompt", UnknownStatus::Prompt),
    ];
    let unknown = match table.get("unknown-status") {
        Some(item) => item.word(report, &unknown)?,
        None => UnknownStatus::Deny,
    };
    let disclose = texts(table, "disclose", report);
    let lists = lists(table, &authority, report);
    let presented = match table.get("header") {
        Some(item) => Presented::Header(item.parse::<HeaderName>(report)?),
        None => Presented::Bearer,
    };
    Some(Kind::Made(Arc::new(Entitlement {
        format: format?,
        issuer: named?.to_owned(),
        issuer_keys: issuer_keys?,
        of_type: text(table, "type", report),
        disclose: disclose.into_iter().map(|name| name.value).collect(),
        audience: text(table, "audience", report),
        presented,
        status_keys: status_keys?,
        lists,
        unknown,
        authority,
        client_id: text(table, "client-id", report),
    })))
}

/// Public keys as JSON Web Keys, written as tables.
fn keys(item: &Item<'_>, report: &mut Report) -> Option<Vec<Jwk>> {
    let value = item.json(report)?;
    match Jwk::read_all(&value) {
        Ok(keys) => Some(keys),
        Err(problem) => {
            item.problem(report, problem)
                .help("such as `[{ kty = \"OKP\", crv = \"Ed25519\", x = \"...\" }]`");
            None
        }
    }
}

/// Where lists of statuses may lie: with the issuer, unless something else is said.
fn lists(table: &Table<'_>, authority: &Url, report: &mut Report) -> Vec<Origin> {
    let Some(named) = table.get("status-hosts") else {
        return vec![authority.origin.clone()];
    };
    let items = named.items(report);
    items
        .iter()
        .filter_map(|item| origin(item, report))
        .map(|origin| origin.value)
        .collect()
}
