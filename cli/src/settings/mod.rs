//! What the operator configured in `exeat.toml`, checked: a held [`Settings`] is valid as far as one file can say.
//!
//! `raw.rs` reads the file and keeps the place of each value, `check.rs` compares values with each other, `files.rs` reads
//! from disk, `mask.rs` keeps a secret that was written into the file out of every message. All problems come at once.
//! Nothing here opens a secret or a socket, and nothing that widens access has a default.

mod check;
mod credentials;
mod files;
mod mask;
mod notify;
mod raw;
mod raw_console;
mod raw_custody;
mod raw_listeners;
mod raw_network;
mod signers;
#[cfg(test)]
mod tests;
mod vault;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use exeat_custody::{CredentialSpec, SignerKind, VaultServer, signer::Pkcs11Key};
use exeat_policy::Approver;
use exeat_types::{AgentId, CredentialId, Host, Origin, Prefix, Report, Seal};
use rustls_pki_types::CertificateDer;

pub(crate) use files::read_sources;

/// Everything `exeat.toml` says.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The file itself, as it was named.
    pub(crate) file: PathBuf,
    /// Where agents connect, in the order written.
    pub(crate) listeners: Vec<Listener>,
    /// Agents and the groups each belongs to.
    pub(crate) agents: BTreeMap<AgentId, Vec<String>>,
    /// What agents may ask for, and who grants it.
    pub(crate) asking: BTreeMap<AgentId, Asking>,
    /// Credentials by name.
    pub(crate) credentials: BTreeMap<CredentialId, Credential>,
    /// Where keys that sign lie, by the name that credentials use.
    pub(crate) signers: BTreeMap<String, Arc<dyn SignerKind>>,
    /// The HashiCorp Vault server that `vault:` points into.
    pub(crate) vault: Option<VaultServer>,
    /// What may be reached besides public addresses.
    pub(crate) network: Network,
    /// Where receipts go.
    pub(crate) ledger: Ledger,
    /// Where tools and rules are.
    pub(crate) policy: PolicyFiles,
    /// Where the key over all sealed secrets comes from.
    pub(crate) master: Master,
    /// The devices that can keep it.
    pub(crate) master_devices: MasterDevices,
    /// Where people are told that a question waits.
    pub(crate) notify: Vec<exeat_console::Channel>,
    /// Where metrics are served, if anywhere; always a loopback address.
    pub(crate) metrics: Option<SocketAddr>,
    /// Where people answer and look, if anywhere.
    pub(crate) console: Option<Console>,
    /// The data folder, if the file names one.
    pub(crate) data: Option<PathBuf>,
    /// The rules file that the command line named instead of the configured one.
    pub(crate) rules_named: Option<PathBuf>,
}

/// What an agent may ask for, and who grants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asking {
    /// Patterns of tools; every declared tool when absent.
    pub(crate) may_ask: Option<Vec<String>>,
    /// By what means a request is granted, at least.
    pub(crate) granted_by: Approver,
}

/// One address where agents connect.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    /// What is spoken there.
    pub(crate) mode: Mode,
    /// The address to bind; port 0 takes a free one.
    pub(crate) address: SocketAddr,
    /// The agent that everybody here is; a transparent or gateway listener always names one, a dns listener never.
    pub(crate) agent: Option<AgentId>,
    /// How well clients of this listener are cut off from other ways out.
    pub(crate) seal: Seal,
    /// How traffic gets to a transparent listener.
    pub(crate) capture: Capture,
    /// Where clients may come from; from anywhere when it is empty.
    pub(crate) clients: Vec<Prefix>,
    /// What a dns listener gives for every name; an address for each name when it is empty.
    pub(crate) answers: Vec<IpAddr>,
    /// TLS towards the client of an explicit proxy.
    pub(crate) tls: Option<ListenerTls>,
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// CONNECT and absolute-form requests.
    Explicit,
    /// Redirected TCP: TLS or HTTP as if it were the target.
    Transparent,
    /// Names, answered by policy and with made-up addresses: UDP and TCP.
    Dns,
}

/// How traffic that was meant for others gets to a transparent listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Capture {
    /// Its destination is rewritten (netfilter's REDIRECT).
    Redirect,
    /// It is delivered as it is (netfilter's TPROXY). The listener needs `CAP_NET_ADMIN` to bind.
    Tproxy,
}

/// TLS of an explicit listener.
#[derive(Debug, Clone)]
pub(crate) struct ListenerTls {
    /// The certificate chain, PEM.
    pub(crate) cert: PathBuf,
    /// Its private key, PEM.
    pub(crate) key: PathBuf,
    /// Who may sign client certificates, PEM; client certificates then name the agent.
    pub(crate) client_ca: Option<PathBuf>,
}

/// The pages for people.
#[derive(Debug, Clone)]
pub(crate) struct Console {
    /// The address to bind; port 0 takes a free one.
    pub(crate) address: SocketAddr,
    /// The one URL they are reached under; `http://localhost` with the bound port when absent.
    pub(crate) origin: Option<exeat_console::PublicOrigin>,
    /// TLS towards browsers.
    pub(crate) tls: Option<ListenerTls>,
}

/// A credential and where it belongs. Never its value.
#[derive(Debug, Clone)]
pub(crate) struct Credential {
    /// What custody has to know.
    pub(crate) spec: CredentialSpec,
    /// The signer that holds its key.
    pub(crate) signer: Option<String>,
    /// Variables in which `exeat run` gives the agent its placeholder, such as `GITHUB_TOKEN`.
    pub(crate) variables: Vec<String>,
}

/// A host and a port, both written out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Endpoint {
    /// The host.
    pub(crate) host: Host,
    /// The port.
    pub(crate) port: u16,
}

/// What may be reached besides public addresses, and how.
#[derive(Debug, Clone, Default)]
pub(crate) struct Network {
    /// Loopback and private targets that are allowed, exactly.
    pub(crate) allow_private: Vec<Endpoint>,
    /// Addresses that stand in for resolving a name; the address guard still applies to them.
    pub(crate) connect_to: BTreeMap<Endpoint, SocketAddr>,
    /// Roots that upstream certificates may chain to, besides the system's.
    pub(crate) upstream_roots: Vec<CertificateDer<'static>>,
    /// The files that these are from.
    pub(crate) roots_from: Vec<PathBuf>,
    /// Targets whose TLS passes unread, and for whom; for every agent when there is no list.
    pub(crate) passthrough: BTreeMap<Endpoint, Option<BTreeSet<AgentId>>>,
    /// The proxy between the gate and the Internet.
    pub(crate) upstream_proxy: Option<UpstreamProxy>,
}

/// A proxy between the gate and the Internet.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamProxy {
    /// Where it is; always plain HTTP.
    pub(crate) origin: Origin,
    /// What it asks for: a credential of the kind `basic` that is bound to it.
    pub(crate) credential: Option<CredentialId>,
    /// Hosts that are reached without it.
    pub(crate) bypass: BTreeSet<Host>,
}

impl Network {
    /// One sentence for each target that passes unread: nobody should be surprised by it.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let told = |(target, agents): (&Endpoint, &Option<BTreeSet<AgentId>>)| {
            let whose = match agents {
                Some(agents) => agents
                    .iter()
                    .map(AgentId::as_str)
                    .collect::<Vec<_>>()
                    .join(", "),
                None => "every agent".to_owned(),
            };
            format!(
                "TLS of {whose} to {}:{} passes unread: no tool, no rule, no redaction",
                target.host, target.port
            )
        };
        self.passthrough.iter().map(told).collect()
    }
}

/// Where receipts go.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    /// The journal's folder; `ledger` in the data folder when absent.
    pub(crate) path: Option<PathBuf>,
    /// Who else is told each checkpoint.
    pub(crate) anchor: Option<Anchor>,
}

/// Who else is told each checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Anchor {
    /// A file, best on another machine's disk.
    File(PathBuf),
    /// A program that gets the checkpoint on its standard input.
    Command(Vec<String>),
}

/// Where tools and rules are.
#[derive(Debug, Clone)]
pub(crate) struct PolicyFiles {
    /// The folder of `*.toml` tool files and `*.cedar` additions.
    pub(crate) tools: PathBuf,
    /// The rules.
    pub(crate) file: PathBuf,
}

/// Where the master key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Master {
    /// A 0600 file in the data folder. That is not encryption at rest.
    KeyFile,
    /// A passphrase, asked for at a terminal or read from `EXEAT_PASSPHRASE`.
    Passphrase,
    /// The keyring of the operating system.
    Keyring,
    /// A file that one TPM alone can open.
    Tpm,
    /// A file that one PKCS#11 token alone can open.
    Pkcs11,
}

impl Master {
    /// The word used in the configuration.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::KeyFile => "key-file",
            Self::Passphrase => "passphrase",
            Self::Keyring => "keyring",
            Self::Tpm => "tpm",
            Self::Pkcs11 => "pkcs11",
        }
    }

    /// The same for people.
    pub(crate) const fn told(self) -> &'static str {
        match self {
            Self::KeyFile => "a key file in the data folder: this is not encryption at rest",
            Self::Passphrase => "a passphrase that is kept nowhere",
            Self::Keyring => "the keyring of the operating system",
            Self::Tpm => "the TPM of this machine",
            Self::Pkcs11 => "a PKCS#11 token",
        }
    }
}

/// The devices that can keep the master key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MasterDevices {
    /// How the TPM is reached.
    pub(crate) tcti: String,
    /// The wrapping key in a token.
    pub(crate) token: Option<Pkcs11Key>,
}

impl Default for MasterDevices {
    fn default() -> Self {
        Self {
            tcti: "device:/dev/tpmrm0".to_owned(),
            token: None,
        }
    }
}

impl Settings {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Every problem found, each with its place.
    pub(crate) fn load(file: &Path) -> Result<Self, Report> {
        let source = files::read_source(file)?;
        Self::parse(file, &source)
    }

    /// The same with other rules than the configured ones, if some are named.
    pub(crate) fn with_rules(mut self, named: Option<PathBuf>) -> Self {
        if let Some(file) = &named {
            self.policy.file.clone_from(file);
        }
        self.rules_named = named;
        self
    }

    /// Reads the file again; rules that the command line named stay.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub(crate) fn reload(&self) -> Result<Self, Report> {
        Ok(Self::load(&self.file)?.with_rules(self.rules_named.clone()))
    }

    /// Checks a text that was read from `file`.
    ///
    /// # Errors
    /// Every problem found, each with its place.
    pub(crate) fn parse(file: &Path, source: &exeat_types::Source) -> Result<Self, Report> {
        let source = mask::without_secrets(source);
        let mut report = Report::new();
        let raw = raw::read(&source, &mut report);
        let settings = check::check(file, &source, raw, &mut report);
        if report.is_empty() {
            Ok(settings)
        } else {
            Err(report)
        }
    }

    /// What policy has to know of agents and credentials.
    pub(crate) fn world(&self) -> exeat_policy::World {
        let bound = |(id, credential): (&CredentialId, &Credential)| {
            (id.clone(), credential.spec.origins.clone())
        };
        exeat_policy::World {
            agents: self.agents.clone(),
            credentials: self.credentials.iter().map(bound).collect(),
        }
    }

    /// Every file and folder whose change means other settings.
    pub(crate) fn watched(&self) -> [PathBuf; 3] {
        [
            self.file.clone(),
            self.policy.tools.clone(),
            self.policy.file.clone(),
        ]
    }
}
