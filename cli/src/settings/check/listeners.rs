//! Checks each `[[listener]]` with the agents and with the other listeners. What would widen access has to be said.

use std::{collections::BTreeSet, net::SocketAddr};

use exeat_types::{AgentId, Seal, did_you_mean};

use super::{
    super::{
        Capture, Listener, ListenerTls, Mode,
        raw::Placed,
        raw_listeners::{RawListener, RawTls},
    },
    Check,
};

impl Check<'_> {
    pub(super) fn listeners(
        &mut self,
        raws: Vec<RawListener>,
        agents: &[&AgentId],
    ) -> Vec<Listener> {
        let mut taken = BTreeSet::new();
        let mut listeners = Vec::new();
        for raw in raws {
            self.known_agent(&raw, agents);
            let (Some(mode), Some(address)) = (&raw.mode, &raw.address) else {
                continue;
            };
            let (mode, place) = (mode.value, address.value);
            if place.port() != 0 && !taken.insert(place) {
                let message = format!("`{place}` is already taken by a listener above");
                self.at(address, message);
            }
            match mode {
                Mode::Explicit => self.explicit(&raw, address),
                Mode::Transparent => self.transparent(&raw),
                Mode::Dns => self.names(&raw),
            }
            self.answers(&raw);
            let tls = raw.tls.and_then(|tls| self.tls(tls));
            listeners.push(Listener {
                mode,
                address: place,
                agent: raw.agent.map(|agent| agent.value),
                seal: raw.seal.map_or(Seal::None, |seal| seal.value),
                capture: raw
                    .capture
                    .map_or(Capture::Redirect, |capture| capture.value),
                clients: raw.clients.into_iter().map(|prefix| prefix.value).collect(),
                answers: raw
                    .answers
                    .into_iter()
                    .map(|address| address.value)
                    .collect(),
                tls,
            });
        }
        listeners
    }

    fn known_agent(&mut self, raw: &RawListener, agents: &[&AgentId]) {
        let Some(agent) = raw
            .agent
            .as_ref()
            .filter(|agent| !agents.contains(&&agent.value))
        else {
            return;
        };
        let near = did_you_mean(
            agent.value.as_str(),
            agents.iter().map(|known| known.as_str()),
        );
        let help = near.map_or_else(
            || format!("add `[agents.{}]`", agent.value),
            |near| format!("did you mean `{near}`?"),
        );
        self.at(agent, format!("unknown agent `{}`", agent.value))
            .label("not defined in [agents]")
            .help(help);
    }

    fn explicit(&mut self, raw: &RawListener, address: &Placed<SocketAddr>) {
        if let Some(seal) = raw.seal.as_ref().filter(|_| raw.agent.is_none()) {
            self.at(seal, "a gateway listener must name its agent")
                .help("add `agent = \"...\"`");
        }
        let exposed = !address.value.ip().is_loopback() && raw.seal.is_none();
        if exposed && raw.tls.is_none() {
            self.at(address, "this listener would carry agent tokens over the network in the clear")
                .help("bind a loopback address, add `tls`, or say `seal = \"gateway\"` if a network routes here");
        }
        if let Some(capture) = &raw.capture {
            self.at(capture, "`capture` belongs to a transparent listener");
        }
    }

    fn transparent(&mut self, raw: &RawListener) {
        if let Some(mode) = raw.mode.as_ref().filter(|_| raw.agent.is_none()) {
            self.at(mode, "a transparent listener must name its agent")
                .help("redirected traffic carries no token; add `agent = \"...\"`");
        }
        if let Some(tls) = &raw.tls {
            let message = "a transparent listener speaks as the target; `tls` does not belong here";
            self.report.at(self.source, tls.span.clone(), message);
        }
    }

    fn names(&mut self, raw: &RawListener) {
        let stray = [
            raw.agent
                .as_ref()
                .map(|agent| ("agent", agent.span.clone())),
            raw.seal.as_ref().map(|seal| ("seal", seal.span.clone())),
            raw.capture
                .as_ref()
                .map(|capture| ("capture", capture.span.clone())),
            raw.tls.as_ref().map(|tls| ("tls", tls.span.clone())),
        ];
        for (key, span) in stray.into_iter().flatten() {
            let message = format!("a dns listener has no `{key}`");
            self.report
                .at(self.source, span, message)
                .help("it answers everybody alike: a name that no tool names is refused");
        }
    }

    /// One address of each family, on a dns listener only.
    fn answers(&mut self, raw: &RawListener) {
        let is_dns = raw
            .mode
            .as_ref()
            .is_some_and(|mode| mode.value == Mode::Dns);
        let mut families = BTreeSet::new();
        for answer in &raw.answers {
            if !is_dns {
                self.at(answer, "`answers` belongs to a dns listener");
            } else if !families.insert(answer.value.is_ipv4()) {
                self.at(answer, "one address of each family can be given");
            }
        }
    }

    pub(super) fn tls(&mut self, raw: RawTls) -> Option<ListenerTls> {
        let (cert, key) = (raw.cert?, raw.key?);
        self.certificates(&cert);
        self.exists(&key);
        if let Some(client_ca) = &raw.client_ca {
            self.certificates(client_ca);
        }
        Some(ListenerTls {
            cert: self.folder.join(cert.value),
            key: self.folder.join(key.value),
            client_ca: raw
                .client_ca
                .map(|client_ca| self.folder.join(client_ca.value)),
        })
    }

    fn exists(&mut self, path: &Placed<String>) {
        if let Err(problem) = std::fs::metadata(self.folder.join(&path.value)) {
            self.at(path, format!("cannot read `{}`: {problem}", path.value));
        }
    }
}
