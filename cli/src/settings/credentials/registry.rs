//! `registry`: a container registry with a token service.

use std::sync::Arc;

use exeat_custody::{Kind, Registry, Url};
use exeat_types::{
    Report,
    config::{Item, Table},
};

use super::{super::raw::text, origin};

pub(super) fn registry(table: &Table<'_>, _: &Item<'_>, report: &mut Report) -> Option<Kind> {
    let username = table.need("username", report);
    let username = username.and_then(|item| item.text(report));
    let realm = table.need("realm", report);
    let realm = realm.and_then(|item| item.parse::<Url>(report));
    let service = text(table, "service", report);
    // What is wrong with them is said where they are read for every kind.
    let mut unsaid = Report::new();
    let named = table.get("hosts").map(|hosts| hosts.items(&mut unsaid));
    let hosts = named.unwrap_or_default();
    let hosts = hosts.iter().filter_map(|host| origin(host, &mut unsaid));
    Some(Kind::Made(Arc::new(Registry {
        username: username?.to_owned(),
        realm: realm?,
        service,
        hosts: hosts.map(|host| host.value).collect(),
    })))
}
