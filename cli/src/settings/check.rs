//! Compares the values of `exeat.toml` with each other and with the disk, and makes [`Settings`] of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use exeat_custody::{CredentialSpec, SecretRef};
use exeat_types::{AgentId, CredentialId, Report, Scheme, Seal, Source, did_you_mean};

use super::{
    Anchor, Credential, Endpoint, Ledger, Listener, ListenerTls, Master, Mode, Network,
    PolicyFiles, Settings, files,
    raw::{Placed, Raw, RawCredential, RawListener, RawNetwork, RawTls},
};

/// What every check needs: the text for places, the folder for relative paths, the list to add to.
struct Check<'a> {
    source: &'a Source,
    folder: PathBuf,
    report: &'a mut Report,
}

pub(super) fn check(file: &Path, source: &Source, raw: Raw, report: &mut Report) -> Settings {
    let folder = file.parent().map(Path::to_path_buf).unwrap_or_default();
    let mut check = Check {
        source,
        folder,
        report,
    };
    let mut agents: BTreeMap<AgentId, Vec<String>> = BTreeMap::new();
    for agent in raw.agents {
        agents.insert(agent.id, check.groups(agent.groups));
    }
    let network = check.network(raw.network);
    let known: Vec<&AgentId> = agents.keys().collect();
    let listeners = check.listeners(raw.listeners, &known);
    let credentials = check.credentials(raw.credentials, &network);
    if let Some(metrics) = &raw.metrics
        && !metrics.value.ip().is_loopback()
    {
        check
            .at(metrics, "metrics are served without authentication")
            .help("expected a loopback address, such as `127.0.0.1:8090`");
    }
    let anchor = raw.anchor.map(|anchor| match anchor {
        Anchor::File(path) => Anchor::File(check.folder.join(path)),
        command @ Anchor::Command(_) => command,
    });
    Settings {
        file: file.to_path_buf(),
        listeners,
        agents,
        credentials,
        network,
        ledger: Ledger {
            path: raw.ledger_path.map(PathBuf::from),
            anchor,
        },
        policy: PolicyFiles {
            tools: check.folder.join(raw.tools.as_deref().unwrap_or("tools")),
            file: check
                .folder
                .join(raw.policy_file.as_deref().unwrap_or("policy.toml")),
        },
        master: raw.master.unwrap_or(Master::KeyFile),
        metrics: raw.metrics.map(|metrics| metrics.value),
        data: raw.data.map(|data| check.folder.join(data)),
    }
}

impl Check<'_> {
    fn at<T>(
        &mut self,
        place: &Placed<T>,
        message: impl Into<String>,
    ) -> &mut exeat_types::Diagnostic {
        self.report.at(self.source, place.span.clone(), message)
    }

    fn groups(&mut self, groups: Vec<Placed<String>>) -> Vec<String> {
        for group in &groups {
            if let Err(problem) = AgentId::new(&group.value) {
                self.at(group, format!("group: {}", problem.problem));
            }
        }
        groups.into_iter().map(|group| group.value).collect()
    }

    fn listeners(&mut self, raws: Vec<RawListener>, agents: &[&AgentId]) -> Vec<Listener> {
        let mut taken = BTreeSet::new();
        let mut listeners = Vec::new();
        for raw in raws {
            if let Some(agent) = &raw.agent
                && !agents.contains(&&agent.value)
            {
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
            let (Some(mode), Some(address)) = (raw.mode, raw.address) else {
                continue;
            };
            if address.value.port() != 0 && !taken.insert(address.value) {
                self.at(
                    &address,
                    format!("`{}` is already taken by a listener above", address.value),
                );
            }
            let seal = raw.seal.as_ref().map_or(Seal::None, |seal| seal.value);
            if raw.agent.is_none() && mode.value == Mode::Transparent {
                self.at(&mode, "a transparent listener must name its agent")
                    .help("redirected traffic carries no token; add `agent = \"...\"`");
            } else if let Some(seal) = raw.seal.as_ref().filter(|_| raw.agent.is_none()) {
                self.at(seal, "a gateway listener must name its agent")
                    .help("add `agent = \"...\"`");
            }
            let exposed = !address.value.ip().is_loopback() && seal == Seal::None;
            if mode.value == Mode::Explicit && exposed && raw.tls.is_none() {
                self.at(&address, "this listener would carry agent tokens over the network in the clear")
                    .help("bind a loopback address, add `tls`, or say `seal = \"gateway\"` if a network routes here");
            }
            if mode.value == Mode::Transparent
                && let Some(tls) = &raw.tls
            {
                let span = tls.span.clone();
                self.report.at(
                    self.source,
                    span,
                    "a transparent listener speaks as the target; `tls` does not belong here",
                );
            }
            let tls = raw.tls.and_then(|tls| self.tls(tls));
            let agent = raw.agent.map(|agent| agent.value);
            listeners.push(Listener {
                mode: mode.value,
                address: address.value,
                agent,
                seal,
                tls,
            });
        }
        listeners
    }

    fn tls(&mut self, raw: RawTls) -> Option<ListenerTls> {
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

    fn certificates(
        &mut self,
        path: &Placed<String>,
    ) -> Vec<rustls_pki_types::CertificateDer<'static>> {
        match files::certificates(&self.folder.join(&path.value)) {
            Ok(found) => found,
            Err(problem) => {
                self.at(path, format!("cannot read `{}`: {problem}", path.value))
                    .help("expected a file of PEM certificates");
                Vec::new()
            }
        }
    }

    fn network(&mut self, raw: RawNetwork) -> Network {
        let mut network = Network::default();
        for endpoint in raw.allow_private {
            network.allow_private.push(endpoint.value);
        }
        for (endpoint, address) in raw.connect_to {
            network.connect_to.insert(endpoint.value, address);
        }
        for path in raw.upstream_roots {
            network.upstream_roots.extend(self.certificates(&path));
        }
        network
    }

    fn credentials(
        &mut self,
        raws: Vec<RawCredential>,
        network: &Network,
    ) -> BTreeMap<CredentialId, Credential> {
        let mut credentials = BTreeMap::new();
        for raw in raws {
            for origin in &raw.origins {
                let endpoint = Endpoint {
                    host: origin.value.host.clone(),
                    port: origin.value.port,
                };
                if origin.value.scheme == Scheme::Http && !network.allow_private.contains(&endpoint)
                {
                    let line = format!("allow-private = [\"{}:{}\"]", endpoint.host, endpoint.port);
                    self.at(origin, "this credential would travel in the clear")
                        .help(format!(
                            "use `https`, or for a private target add `{line}` to `[network]`"
                        ));
                }
            }
            for variable in &raw.variables {
                let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
                if variable.value.is_empty() || !variable.value.chars().all(plain) {
                    self.at(
                        variable,
                        "expected the name of a variable, such as `GITHUB_TOKEN`",
                    );
                }
            }
            let secret = raw
                .secret
                .as_ref()
                .and_then(|secret| self.reference(secret));
            let (Some(kind), Some(secret)) = (raw.kind, secret) else {
                continue;
            };
            let origins = raw.origins.into_iter().map(|origin| origin.value).collect();
            let variables = raw
                .variables
                .into_iter()
                .map(|variable| variable.value)
                .collect();
            let id = raw.id.value;
            let spec = CredentialSpec {
                id: id.clone(),
                kind,
                origins,
                secret,
                shape: raw.shape,
            };
            credentials.insert(id, Credential { spec, variables });
        }
        credentials
    }

    /// A reference such as `sealed:github`. Anything else may be the secret itself, and is not repeated.
    fn reference(&mut self, secret: &Placed<String>) -> Option<SecretRef> {
        if !super::mask::is_reference(&secret.value) {
            self.at(secret, "a secret does not belong in this file")
                .label("not shown")
                .help("store it with `exeat secret set NAME` and write `secret = \"sealed:NAME\"`");
            return None;
        }
        match secret.value.parse() {
            Ok(reference) => Some(reference),
            Err(problem) => {
                self.at(secret, problem.to_string());
                None
            }
        }
    }
}
