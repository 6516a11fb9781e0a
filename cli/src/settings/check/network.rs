//! Checks `[network]`: what may be reached besides public addresses, by which way, and what passes unread.

use std::collections::{BTreeMap, BTreeSet};

use exeat_custody::Kind;
use exeat_policy::address;
use exeat_types::{AgentId, CredentialId, Host, Scheme, did_you_mean};

use super::Check;
use crate::settings::{
    Credential, Endpoint, Network, UpstreamProxy,
    raw::Placed,
    raw_network::{RawNetwork, RawPassthrough},
};

/// What `[network]` says that has to be compared with credentials.
pub(super) struct Ways {
    proxy: Option<Placed<exeat_types::Origin>>,
    credential: Option<Placed<CredentialId>>,
    bypass: Vec<Placed<Host>>,
    passthrough: Vec<RawPassthrough>,
}

impl Check<'_> {
    /// The part that credentials are checked against.
    pub(super) fn network(&mut self, raw: RawNetwork) -> (Network, Ways) {
        let mut network = Network::default();
        for endpoint in raw.allow_private {
            network.allow_private.push(endpoint.value);
        }
        for (endpoint, address) in raw.connect_to {
            network.connect_to.insert(endpoint.value, address);
        }
        for path in raw.upstream_roots {
            network.upstream_roots.extend(self.certificates(&path));
            network.roots_from.push(self.folder.join(path.value));
        }
        let ways = Ways {
            proxy: raw.upstream_proxy,
            credential: raw.proxy_credential,
            bypass: raw.proxy_bypass,
            passthrough: raw.passthrough,
        };
        (network, ways)
    }

    /// The part that is checked against credentials.
    pub(super) fn ways(
        &mut self,
        ways: Ways,
        agents: &[&AgentId],
        credentials: &BTreeMap<CredentialId, Credential>,
        network: &mut Network,
    ) {
        for raw in ways.passthrough {
            let target = raw.target.value.clone();
            self.unbound(&raw.target, credentials);
            let agents = raw.agents.map(|list| self.named(list, agents));
            if network.passthrough.insert(target, agents).is_some() {
                self.at(&raw.target, "this target stands here twice");
            }
        }
        let Some(proxy) = ways.proxy else {
            let orphan = "there is no `upstream-proxy` that this could be about";
            if let Some(credential) = &ways.credential {
                self.at(credential, orphan);
            }
            if let Some(host) = ways.bypass.first() {
                self.at(host, orphan);
            }
            return;
        };
        self.proxy(&proxy, network);
        if let Some(credential) = &ways.credential {
            self.proxy_credential(credential, &proxy, credentials);
        }
        network.upstream_proxy = Some(UpstreamProxy {
            origin: proxy.value,
            credential: ways.credential.map(|credential| credential.value),
            bypass: ways.bypass.into_iter().map(|host| host.value).collect(),
        });
    }

    /// What passes unread must not be a place where a credential goes.
    fn unbound(
        &mut self,
        target: &Placed<Endpoint>,
        credentials: &BTreeMap<CredentialId, Credential>,
    ) {
        let here = |credential: &Credential| {
            let mut origins = credential.spec.origins.iter();
            origins
                .any(|origin| origin.host == target.value.host && origin.port == target.value.port)
        };
        let Endpoint { host, port } = &target.value;
        for (id, _) in credentials.iter().filter(|(_, one)| here(one)) {
            let message =
                format!("`{host}:{port}` cannot pass unread: the credential `{id}` is bound to it");
            self.at(target, message)
                .help("a credential is put in only where the gate reads; take one of the two out");
        }
    }

    fn named(
        &mut self,
        list: Placed<Vec<Placed<AgentId>>>,
        agents: &[&AgentId],
    ) -> BTreeSet<AgentId> {
        if list.value.is_empty() {
            self.at(&list, "nobody may use this")
                .help("name agents, or leave `agents` out for all of them");
        }
        for agent in &list.value {
            if agents.contains(&&agent.value) {
                continue;
            }
            let known = agents.iter().map(|known| known.as_str());
            let near = did_you_mean(agent.value.as_str(), known);
            let help = near.map_or_else(
                || format!("add `[agents.{}]`", agent.value),
                |near| format!("did you mean `{near}`?"),
            );
            self.at(agent, format!("unknown agent `{}`", agent.value))
                .help(help);
        }
        list.value.into_iter().map(|agent| agent.value).collect()
    }

    fn proxy(&mut self, proxy: &Placed<exeat_types::Origin>, network: &Network) {
        if proxy.value.scheme == Scheme::Https {
            self.at(
                proxy,
                "a proxy that is itself reached over TLS cannot be used",
            )
            .help("write `http://`: TLS to the upstream goes through it untouched");
        }
        let endpoint = Endpoint {
            host: proxy.value.host.clone(),
            port: proxy.value.port,
        };
        if let Host::Ip(ip) = &endpoint.host
            && !address::classify(*ip).is_public()
            && !network.allow_private.contains(&endpoint)
        {
            let line = format!("allow-private = [\"{}:{}\"]", endpoint.host, endpoint.port);
            self.at(proxy, "this address is not public, so it would be refused")
                .help(format!("add `{line}`"));
        }
    }

    fn proxy_credential(
        &mut self,
        credential: &Placed<CredentialId>,
        proxy: &Placed<exeat_types::Origin>,
        credentials: &BTreeMap<CredentialId, Credential>,
    ) {
        let id = &credential.value;
        let Some(known) = credentials.get(id) else {
            self.at(credential, format!("unknown credential `{id}`"))
                .help(format!("add `[credentials.{id}]` with `kind = \"basic\"`"));
            return;
        };
        if !matches!(known.spec.kind, Kind::Basic { .. }) {
            self.at(credential, format!("`{id}` is not of the kind `basic`"))
                .help("an upstream proxy is given a name and a password");
        }
        if !known.spec.origins.contains(&proxy.value) {
            let origin = &proxy.value;
            self.at(credential, format!("`{id}` is not bound to {origin}"))
                .help(format!("add `hosts = [\"{origin}\"]` to it"));
        }
    }
}
