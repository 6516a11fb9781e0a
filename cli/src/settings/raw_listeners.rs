//! Reads one `[[listener]]`.

use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
};

use exeat_types::{
    AgentId, Prefix, Report, Seal,
    config::{Item, Table},
};

use super::{
    Capture, Mode,
    raw::{Placed, placed, texts},
};

pub(super) struct RawListener {
    pub(super) mode: Option<Placed<Mode>>,
    pub(super) address: Option<Placed<SocketAddr>>,
    pub(super) agent: Option<Placed<AgentId>>,
    pub(super) seal: Option<Placed<Seal>>,
    pub(super) capture: Option<Placed<Capture>>,
    pub(super) clients: Vec<Placed<Prefix>>,
    pub(super) answers: Vec<Placed<IpAddr>>,
    pub(super) tls: Option<RawTls>,
}

pub(super) struct RawTls {
    pub(super) cert: Option<Placed<String>>,
    pub(super) key: Option<Placed<String>>,
    pub(super) client_ca: Option<Placed<String>>,
    pub(super) span: Range<usize>,
}

const MODES: [(&str, Mode); 3] = [
    ("explicit", Mode::Explicit),
    ("transparent", Mode::Transparent),
    ("dns", Mode::Dns),
];
const SEALS: [(&str, Seal); 1] = [("gateway", Seal::Gateway)];
const CAPTURES: [(&str, Capture); 2] =
    [("redirect", Capture::Redirect), ("tproxy", Capture::Tproxy)];

pub(super) fn read(table: &Table<'_>, report: &mut Report) -> RawListener {
    let raw = RawListener {
        mode: word(table.need("mode", report), &MODES, report),
        address: table
            .need("address", report)
            .and_then(|item| placed(&item, report)),
        agent: table.get("agent").and_then(|item| placed(&item, report)),
        seal: word(table.get("seal"), &SEALS, report),
        capture: word(table.get("capture"), &CAPTURES, report),
        clients: table
            .get("clients")
            .map(|item| clients(&item, report))
            .unwrap_or_default(),
        answers: texts(table, "answers", report),
        tls: table.get("tls").and_then(|item| tls(&item, report)),
    };
    table.finish(report);
    raw
}

fn word<T: Copy>(
    item: Option<Item<'_>>,
    words: &[(&'static str, T)],
    report: &mut Report,
) -> Option<Placed<T>> {
    let item = item?;
    Some(Placed::new(&item, item.word(report, words)?))
}

/// An empty list would let everybody in, who writes one wants nobody.
fn clients(item: &Item<'_>, report: &mut Report) -> Vec<Placed<Prefix>> {
    let items = item.items(report);
    if items.is_empty() {
        item.problem(report, "no client could ever come in")
            .help("name prefixes, such as `\"10.77.0.0/24\"`, or leave `clients` out");
    }
    items
        .iter()
        .filter_map(|item| placed(item, report))
        .collect()
}

pub(super) fn tls(item: &Item<'_>, report: &mut Report) -> Option<RawTls> {
    let table = item.table(report)?;
    let raw = RawTls {
        cert: table
            .need("cert", report)
            .and_then(|item| placed(&item, report)),
        key: table
            .need("key", report)
            .and_then(|item| placed(&item, report)),
        client_ca: table
            .get("client-ca")
            .and_then(|item| placed(&item, report)),
        span: item.span(),
    };
    table.finish(report);
    Some(raw)
}
