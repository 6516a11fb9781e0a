//! Reads `[console]`.

use std::net::SocketAddr;

use exeat_types::{Origin, Report, config::Table};

use super::{
    raw::{Placed, placed},
    raw_listeners::{RawTls, tls},
};

pub(super) struct RawConsole {
    pub(super) address: Option<Placed<SocketAddr>>,
    pub(super) origin: Option<Placed<Origin>>,
    pub(super) tls: Option<RawTls>,
}

pub(super) fn read(table: &Table<'_>, report: &mut Report) -> RawConsole {
    let raw = RawConsole {
        address: table.get("address").and_then(|item| placed(&item, report)),
        origin: table.get("origin").and_then(|item| placed(&item, report)),
        tls: table.get("tls").and_then(|item| tls(&item, report)),
    };
    table.finish(report);
    raw
}
