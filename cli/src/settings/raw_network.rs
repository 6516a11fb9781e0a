//! Reads `[network]`.

use std::{net::SocketAddr, ops::Range};

use exeat_types::{
    AgentId, Authority, CredentialId, Host, Malformed, Origin, Report,
    config::{Item, Table},
};

use super::{
    Endpoint,
    raw::{Placed, name_of, placed, texts},
};

#[derive(Default)]
pub(super) struct RawNetwork {
    pub(super) allow_private: Vec<Placed<Endpoint>>,
    pub(super) connect_to: Vec<(Placed<Endpoint>, SocketAddr)>,
    pub(super) upstream_roots: Vec<Placed<String>>,
    pub(super) passthrough: Vec<RawPassthrough>,
    pub(super) upstream_proxy: Option<Placed<Origin>>,
    pub(super) proxy_credential: Option<Placed<CredentialId>>,
    pub(super) proxy_bypass: Vec<Placed<Host>>,
}

/// A target whose TLS passes unread, and for whom; for every agent when nobody is named.
pub(super) struct RawPassthrough {
    pub(super) target: Placed<Endpoint>,
    pub(super) agents: Option<Placed<Vec<Placed<AgentId>>>>,
}

pub(super) fn read(table: &Table<'_>, report: &mut Report) -> RawNetwork {
    let mut raw = RawNetwork {
        allow_private: all(table, "allow-private", report),
        upstream_roots: texts(table, "upstream-roots", report),
        upstream_proxy: one(table, "upstream-proxy", report),
        proxy_credential: one(table, "upstream-proxy-credential", report),
        proxy_bypass: all::<BareHost>(table, "upstream-proxy-bypass", report)
            .into_iter()
            .map(|host| host.map(|host| host.0))
            .collect(),
        ..RawNetwork::default()
    };
    if let Some(inner) = table.get("connect-to").and_then(|item| item.table(report)) {
        for (name, span, item) in inner.entries() {
            let endpoint = name_of::<Endpoint>(&inner, name, &span, report);
            let address = item.parse(report);
            raw.connect_to.extend(endpoint.zip(address));
        }
    }
    for item in table
        .get("passthrough")
        .map(|item| item.items(report))
        .unwrap_or_default()
    {
        raw.passthrough.extend(passthrough(&item, report));
    }
    table.finish(report);
    raw
}

/// `"host:port"`, or `{ target = "host:port", agents = [...] }`.
fn passthrough(item: &Item<'_>, report: &mut Report) -> Option<RawPassthrough> {
    if !item.is_table() {
        let target = placed(item, report)?;
        return Some(RawPassthrough {
            target,
            agents: None,
        });
    }
    let table = item.table(report)?;
    let target = table
        .need("target", report)
        .and_then(|item| placed(&item, report));
    let agents = table.get("agents").map(|list| {
        let items = list.items(report);
        let names = items.iter().filter_map(|item| placed(item, report));
        Placed::new(&list, names.collect())
    });
    table.finish(report);
    Some(RawPassthrough {
        target: target?,
        agents,
    })
}

fn one<T: std::str::FromStr<Err: std::fmt::Display>>(
    table: &Table<'_>,
    key: &'static str,
    report: &mut Report,
) -> Option<Placed<T>> {
    table.get(key).and_then(|item| placed(&item, report))
}

fn all<T: std::str::FromStr<Err: std::fmt::Display>>(
    table: &Table<'_>,
    key: &'static str,
    report: &mut Report,
) -> Vec<Placed<T>> {
    let items = table.get(key).map(|item| item.items(report));
    let items = items.unwrap_or_default();
    items
        .iter()
        .filter_map(|item| placed(item, report))
        .collect()
}

/// A host without a port.
struct BareHost(Host);

impl std::str::FromStr for BareHost {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        Host::parse(text).map(Self)
    }
}

impl<T> Placed<T> {
    fn map<U>(self, change: impl FnOnce(T) -> U) -> Placed<U> {
        let span: Range<usize> = self.span;
        Placed {
            value: change(self.value),
            span,
        }
    }
}

impl std::str::FromStr for Endpoint {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let authority = Authority::parse(text)?;
        let missing = || Malformed::new("endpoint", "expected `host:port` with the port written");
        Ok(Self {
            host: authority.host,
            port: authority.port.ok_or_else(missing)?,
        })
    }
}
