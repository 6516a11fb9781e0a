//! What a reload replaces: policy from its files, custody from its stores, the network from the settings.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use exeat_custody::{
    Custody, Error, Kind, Loaded, OsKeyring, Outside, SecretRef, Stores, VaultClient,
};
use exeat_pipeline::{Network, Requests, Roots, Rules, UpstreamProxy};
use exeat_policy::{Policy, Sources, granted};
use exeat_types::{AgentId, CredentialId, Origin, Reason, Signer};

use super::{signers::Surroundings, state::State};
use crate::{
    env,
    settings::{Credential, Endpoint, Settings, read_sources},
};

impl State {
    /// Builds the rules that these settings and the stores say, all or nothing.
    ///
    /// # Errors
    /// Every problem of the policy files, or why custody could not be built.
    pub(crate) async fn rules(self: &Arc<Self>, settings: &Settings) -> anyhow::Result<Rules> {
        let (state, settings) = (Arc::clone(self), settings.clone());
        let built = tokio::task::spawn_blocking(move || {
            let mut sources = read_sources(&settings.policy)?;
            let world = settings.world();
            let compile = |sources: &Sources| {
                let mut cache = state.compiled();
                cache.at(state.clock().now());
                Policy::compile_with(&mut cache, sources, &world)
            };
            let mut policy = compile(&sources)?;
            let granted = Requests::new(Arc::clone(state.clock()), state.ledger().clone());
            let granted = granted.rules(&policy);
            if !granted.is_empty() {
                sources.policy.push(granted::source(&granted));
                policy = compile(&sources)?;
            }
            let network = state.network(&settings)?;
            let (custody, unreachable) = state.custody(&settings, &network)?;
            let custody = Arc::new(custody);
            let known = Some(Arc::clone(&custody));
            // Nothing can be refused any more.
            state
                .outbound()
                .admit(&network, known, own_origins(&settings));
            Ok(Rules {
                policy: Arc::new(policy),
                custody,
                network,
                unreachable,
            })
        });
        built.await.context("building the rules")?
    }

    /// Uses what settings refer to, whether they come in force or not. Blocks.
    ///
    /// # Errors
    /// When their network cannot be had.
    pub(super) fn reaching<T>(
        &self,
        settings: &Settings,
        act: impl FnOnce(&Surroundings<'_>) -> T,
    ) -> anyhow::Result<T> {
        let network = self.network(settings)?;
        Ok(self.over(settings, &network, act))
    }

    fn over<T>(
        &self,
        settings: &Settings,
        network: &Network,
        act: impl FnOnce(&Surroundings<'_>) -> T,
    ) -> T {
        // SECURITY: settings that may yet be refused are in force for nobody else.
        let trial = self.outbound().try_out(network, own_origins(settings));
        let outside = trial.outside();
        let environment = |name: &str| env::variable(name);
        let mut stores = Stores {
            vault: Some(self.sealed()),
            keyring: &OsKeyring,
            server: None,
            environment: &environment,
        };
        let server = self.vault_client(settings, &stores, &outside);
        stores.server = server.as_ref();
        act(&Surroundings {
            stores: &stores,
            outside: &outside,
            telling: self.placeholder_key(),
            clock: self.clock(),
            folder: self.folder().path(),
        })
    }

    /// Loads every credential whose secret can be had. One that cannot has its calls refused, others work.
    fn custody(
        &self,
        settings: &Settings,
        network: &Network,
    ) -> anyhow::Result<(Custody, BTreeMap<CredentialId, Reason>)> {
        let mut loaded = Vec::new();
        let mut unreachable = BTreeMap::new();
        self.over(settings, network, |with| {
            let signers = self.signers().open(settings, with);
            for credential in settings.credentials.values() {
                match load(credential, with.stores, &signers) {
                    Ok(one) => loaded.push(one),
                    Err(Lack::Absent) => {}
                    Err(Lack::Refused(reason)) => {
                        unreachable.insert(credential.spec.id.clone(), reason);
                    }
                }
            }
        });
        let agents: Vec<AgentId> = settings.agents.keys().cloned().collect();
        match Custody::build(loaded, &agents, self.placeholder_key(), self.live()) {
            Ok(custody) => Ok((custody, unreachable)),
            Err(problems) => {
                let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
                bail!("credentials cannot be used: {}", list.join("; "))
            }
        }
    }

    /// A client of the Vault server that is configured, if its secret can be had.
    fn vault_client(
        &self,
        settings: &Settings,
        stores: &Stores<'_>,
        outside: &Arc<dyn Outside>,
    ) -> Option<VaultClient> {
        let server = settings.vault.as_ref()?;
        match server.secret().resolve(stores) {
            Ok((secret, _version)) => {
                Some(server.client(secret, Arc::clone(outside), Arc::clone(self.clock())))
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "nobody can log in to Vault; secrets that lie there are not had"
                );
                None
            }
        }
    }

    fn network(&self, settings: &Settings) -> anyhow::Result<Network> {
        let network = &settings.network;
        for warning in network.warnings() {
            tracing::warn!("{warning}");
        }
        for (id, credential) in &settings.credentials {
            if matches!(credential.spec.secret, Some(SecretRef::Env(_))) {
                tracing::warn!(
                    credential = %id,
                    "its secret comes out of the environment, which is for development"
                );
            }
        }
        let named = |end: &Endpoint| (end.host.clone(), end.port);
        let connect_to = network.connect_to.iter();
        let passthrough = network.passthrough.iter();
        let proxy = network.upstream_proxy.clone();
        Ok(Network {
            allow_private: network.allow_private.iter().map(named).collect(),
            connect_to: connect_to.map(|(end, to)| (named(end), *to)).collect(),
            own_ports: self.ports().clone(),
            console: self.console_place().clone(),
            roots: roots(settings)?,
            passthrough: passthrough
                .map(|(end, agents)| (named(end), agents.clone()))
                .collect(),
            upstream_proxy: proxy.map(|proxy| UpstreamProxy {
                origin: proxy.origin,
                credential: proxy.credential,
                bypass: proxy.bypass,
            }),
        })
    }
}

/// Why a credential is not loaded.
enum Lack {
    /// Its secret was never stored.
    Absent,
    /// It is refused, and this is what agents are told.
    Refused(Reason),
}

/// A credential with its secret and its key.
fn load(
    credential: &Credential,
    stores: &Stores<'_>,
    signers: &BTreeMap<String, Arc<dyn Signer>>,
) -> Result<Loaded, Lack> {
    let signer = credential.signer.as_ref().map(|name| signers.get(name));
    let signer = match signer {
        Some(None) => return Err(Lack::Refused(Reason::SignerUnavailable)),
        Some(Some(signer)) => Some(Arc::clone(signer)),
        None => None,
    };
    let (secret, version) = match &credential.spec.secret {
        // Whether it can do without, its kind says.
        None => (None, 1),
        Some(reference) => match reference.resolve(stores) {
            Ok((secret, version)) => (Some(secret), version),
            Err(error) => {
                tracing::warn!(
                    credential = %credential.spec.id, error = &error as &dyn std::error::Error,
                    "a credential has no secret; calls that need it are refused"
                );
                // SECURITY: only a secret that was never stored is absent.
                return Err(match error {
                    Error::SecretAbsent { .. } => Lack::Absent,
                    Error::SecretRevoked { .. } => Lack::Refused(Reason::CredentialDead),
                    _ => Lack::Refused(Reason::CredentialMissing),
                });
            }
        },
    };
    Ok(Loaded {
        spec: credential.spec.clone(),
        secret,
        version,
        signer,
    })
}

/// Where the gate sends requests of its own: what credentials and signers declare, and nothing else.
fn own_origins(settings: &Settings) -> BTreeSet<Origin> {
    let credentials = settings.credentials.values();
    let made = credentials.filter_map(|credential| match &credential.spec.kind {
        Kind::Made(kind) => Some(kind.origins()),
        Kind::Bearer | Kind::ApiKeyHeader(_) | Kind::ApiKeyQuery(_) | Kind::Basic { .. } => None,
    });
    let signers = settings.signers.values();
    let signers = signers.flat_map(|signer| signer.origins()).cloned();
    let vault = settings.vault.iter().map(|vault| vault.origin().clone());
    let notices = settings.notify.iter();
    let notices = notices.flat_map(|channel| channel.origins()).cloned();
    let made = made.flatten().chain(signers);
    made.chain(vault).chain(notices).collect()
}

/// The system's roots and those of the settings, as they are now.
fn roots(settings: &Settings) -> anyhow::Result<Roots> {
    let system = exeat_ca::system_roots().context("reading the system's roots")?;
    let both = system
        .certificates
        .iter()
        .chain(&settings.network.upstream_roots);
    let certificates: Arc<[Vec<u8>]> = both.map(|one| one.to_vec()).collect();
    let mut hasher = DefaultHasher::new();
    certificates.hash(&mut hasher);
    Ok(Roots {
        id: hasher.finish(),
        certificates,
    })
}

/// The variables that hold this agent's placeholders, by name.
pub(crate) fn placeholders(
    settings: &Settings,
    custody: &Custody,
    agent: &AgentId,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for (id, credential) in &settings.credentials {
        let Some(placeholder) = custody.placeholder(agent, id) else {
            continue;
        };
        for variable in &credential.variables {
            variables.insert(variable.clone(), placeholder.to_owned());
        }
    }
    variables
}
