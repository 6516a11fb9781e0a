//! What a reload replaces: policy from its files, custody from its stores, the network from the settings.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use exeat_custody::{Custody, OsKeyring, Stores};
use exeat_pipeline::{Network, Roots, Rules, UpstreamProxy};
use exeat_policy::Policy;
use exeat_types::AgentId;

use super::state::State;
use crate::{
    env,
    settings::{Endpoint, Settings, read_sources},
};

impl State {
    /// Builds the rules that these settings and the stores say, all or nothing.
    ///
    /// # Errors
    /// Every problem of the policy files, or why custody could not be built.
    pub(crate) async fn rules(self: &Arc<Self>, settings: &Settings) -> anyhow::Result<Rules> {
        let (state, settings) = (Arc::clone(self), settings.clone());
        let built = tokio::task::spawn_blocking(move || {
            let sources = read_sources(&settings.policy)?;
            let policy = Policy::compile_with(&mut state.compiled(), &sources, &settings.world())?;
            let custody = state.custody(&settings)?;
            let network = state.network(&settings)?;
            Ok(Rules {
                policy: Arc::new(policy),
                custody: Arc::new(custody),
                network,
            })
        });
        built.await.context("building the rules")?
    }

    /// Loads every credential whose secret can be had. One that cannot is absent: its calls are refused, others work.
    fn custody(&self, settings: &Settings) -> anyhow::Result<Custody> {
        let mut loaded = Vec::new();
        {
            let vault = self.vault();
            let stores = Stores {
                vault: Some(&vault),
                keyring: &OsKeyring,
                environment: &|name: &str| env::variable(name),
            };
            for credential in settings.credentials.values() {
                match credential.spec.secret.resolve(&stores) {
                    Ok((secret, version)) => {
                        loaded.push((credential.spec.clone(), secret, version))
                    }
                    Err(error) => tracing::warn!(
                        credential = %credential.spec.id, error = &error as &dyn std::error::Error,
                        "a credential has no secret; calls that need it are refused"
                    ),
                }
            }
        }
        let agents: Vec<AgentId> = settings.agents.keys().cloned().collect();
        match Custody::build(loaded, &agents, self.placeholder_key()) {
            Ok(custody) => Ok(custody),
            Err(problems) => {
                let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
                bail!("credentials cannot be used: {}", list.join("; "))
            }
        }
    }

    fn network(&self, settings: &Settings) -> anyhow::Result<Network> {
        let network = &settings.network;
        for warning in network.warnings() {
            tracing::warn!("{warning}");
        }
        let named = |end: &Endpoint| (end.host.clone(), end.port);
        let connect_to = network.connect_to.iter();
        let passthrough = network.passthrough.iter();
        let proxy = network.upstream_proxy.clone();
        Ok(Network {
            allow_private: network.allow_private.iter().map(named).collect(),
            connect_to: connect_to.map(|(end, to)| (named(end), *to)).collect(),
            own_ports: self.ports().clone(),
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
