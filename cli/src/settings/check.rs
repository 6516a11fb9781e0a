//! Compares the values of `exeat.toml` with each other and with the disk, and makes [`Settings`] of them.

mod console;
mod listeners;
mod network;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use exeat_custody::{CredentialSpec, SecretRef, SignerKind};
use exeat_policy::Approver;
use exeat_types::{AgentId, CredentialId, Report, Scheme, Source, did_you_mean};

use super::{
    Anchor, Asking, Credential, Endpoint, Ledger, Master, Network, PolicyFiles, Settings, files,
    raw::{Placed, Raw, RawCredential},
    signers::RawSigner,
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
    let mut asking = BTreeMap::new();
    for agent in raw.agents {
        let may_ask = agent.may_ask.map(|patterns| check.patterns(patterns));
        let granted_by = agent.granted_by.unwrap_or(Approver::Passkey);
        let one = Asking {
            may_ask,
            granted_by,
        };
        asking.insert(agent.id.clone(), one);
        agents.insert(agent.id, check.groups(agent.groups));
    }
    let (mut network, ways) = check.network(raw.network);
    let known: Vec<&AgentId> = agents.keys().collect();
    let listeners = check.listeners(raw.listeners, &known);
    let signers = check.signers(raw.signers, &raw.credentials);
    let credentials = check.credentials(raw.credentials, &network);
    check.ways(ways, &known, &credentials, &mut network);
    if let Some(metrics) = &raw.metrics
        && !metrics.value.ip().is_loopback()
    {
        check
            .at(metrics, "metrics are served without authentication")
            .help("expected a loopback address, such as `127.0.0.1:8090`");
    }
    let notify = check.channels(raw.notify, &network);
    let console = raw.console.map(|console| check.console(console));
    let anchor = raw.anchor.map(|anchor| match anchor {
        Anchor::File(path) => Anchor::File(check.folder.join(path)),
        command @ Anchor::Command(_) => command,
    });
    Settings {
        file: file.to_path_buf(),
        listeners,
        agents,
        asking,
        credentials,
        signers,
        vault: raw.vault,
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
        master_devices: raw.master_devices,
        metrics: raw.metrics.map(|metrics| metrics.value),
        console,
        notify,
        data: raw.data.map(|data| check.folder.join(data)),
        rules_named: None,
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

    /// Names of tools, or parts of names and `.*`. Everything at once is nothing that an agent asks for.
    fn patterns(&mut self, patterns: Vec<Placed<String>>) -> Vec<String> {
        for pattern in &patterns {
            let name = pattern.value.strip_suffix(".*").unwrap_or(&pattern.value);
            if exeat_types::ToolName::new(name).is_err() {
                self.at(pattern, "expected the name of a tool, or an API and `.*`")
                    .help("such as `github.issues.create` or `github.*`");
            }
        }
        patterns.into_iter().map(|pattern| pattern.value).collect()
    }

    /// Where notices go. In the clear they go to a private target only, and only if it is allowed.
    fn channels(
        &mut self,
        channels: Vec<Placed<exeat_console::Channel>>,
        network: &Network,
    ) -> Vec<exeat_console::Channel> {
        for channel in &channels {
            for origin in channel.value.origins() {
                let endpoint = Endpoint {
                    host: origin.host.clone(),
                    port: origin.port,
                };
                if origin.scheme == Scheme::Http && !network.allow_private.contains(&endpoint) {
                    let line = format!("allow-private = [\"{}:{}\"]", endpoint.host, endpoint.port);
                    self.at(channel, "notices would travel in the clear")
                        .help(format!(
                            "use `https`, or for a private target add `{line}` to `[network]`"
                        ));
                }
            }
        }
        let values = channels.into_iter().map(|channel| channel.value);
        values.collect()
    }

    fn groups(&mut self, groups: Vec<Placed<String>>) -> Vec<String> {
        for group in &groups {
            if let Err(problem) = AgentId::new(&group.value) {
                self.at(group, format!("group: {}", problem.problem));
            }
        }
        groups.into_iter().map(|group| group.value).collect()
    }

    /// Every signer, and whether each that a credential names is there.
    fn signers(
        &mut self,
        raws: Vec<RawSigner>,
        credentials: &[RawCredential],
    ) -> BTreeMap<String, Arc<dyn SignerKind>> {
        let known: Vec<&str> = raws.iter().map(|raw| raw.name.value.as_str()).collect();
        for named in credentials.iter().filter_map(|raw| raw.signer.as_ref()) {
            let name = named.value.as_str();
            if known.contains(&name) {
                continue;
            }
            let help = match did_you_mean(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("declare it as `[signers.{name}]`"),
            };
            self.at(named, format!("there is no signer `{name}`"))
                .help(help);
        }
        let signers = raws.into_iter();
        signers
            .filter_map(|raw| Some((raw.name.value.to_string(), raw.kind?)))
            .collect()
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
            let Some(kind) = raw.kind else {
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
            let signer = raw.signer.map(|signer| signer.value);
            credentials.insert(
                id,
                Credential {
                    spec,
                    signer,
                    variables,
                },
            );
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
