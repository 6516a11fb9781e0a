//! `Custody`: every loaded credential and every placeholder, as one immutable snapshot.
//!
//! It is built whole or not at all, and replaced whole on reload. What it does for a request is in `prepare.rs`.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use exeat_types::{
    AgentId, CredentialId, Origin, Secret,
    limits::{SECRET_BYTES_MAX, SECRET_BYTES_MIN},
};
use http::HeaderName;

use crate::{
    CredentialSpec, Error, Kind, Used,
    inject::{Form, STANDARD_SLOTS, basic},
    placeholder::{Mint, Watch},
    redact::Patterns,
};

/// How many earlier versions of a placeholder are still known to have been the agent's own.
const EARLIER_VERSIONS: u32 = 8;

/// All credentials and placeholders of the gate at one moment.
pub struct Custody {
    pub(crate) entries: BTreeMap<CredentialId, Entry>,
    pub(crate) placeholders: BTreeMap<AgentId, BTreeMap<CredentialId, Names>>,
    pub(crate) claims: HashMap<Origin, Claims>,
    pub(crate) watch: Arc<Watch>,
    patterns: Arc<Patterns>,
}

/// One loaded credential.
pub(crate) struct Entry {
    pub(crate) spec: CredentialSpec,
    pub(crate) secret: Secret,
    pub(crate) form: Form,
    pub(crate) version: u32,
    pub(crate) thumbprint: Arc<str>,
}

/// The placeholders of one agent for one credential.
pub(crate) struct Names {
    pub(crate) current: String,
    /// Of earlier versions: they resolve nowhere, but in the kind's own slot they are the agent's own key.
    pub(crate) earlier: Vec<String>,
}

impl Names {
    /// The current placeholder, then the earlier ones.
    pub(crate) fn all(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.current)
            .chain(&self.earlier)
            .map(String::as_str)
    }
}

/// What is taken off every request to an origin that some credential is bound to.
#[derive(Default)]
pub(crate) struct Claims {
    pub(crate) headers: Vec<HeaderName>,
    pub(crate) queries: Vec<String>,
    pub(crate) credentials: Vec<CredentialId>,
}

impl Custody {
    /// Builds the snapshot from credentials, their secrets and the version of each, for these agents.
    ///
    /// # Errors
    /// Every credential that cannot be used, with why: a name used twice, no origin, a secret that is too short, too
    /// long, not text, or does not fit the place where its kind sends it.
    pub fn build(
        loaded: Vec<(CredentialSpec, Secret, u32)>,
        agents: &[AgentId],
        placeholder_key: &Secret,
    ) -> Result<Self, Vec<Error>> {
        let mint = Mint::new(placeholder_key);
        let mut problems = Vec::new();
        let mut entries = BTreeMap::new();
        for (spec, secret, version) in loaded {
            let id = spec.id.clone();
            match Entry::build(spec, secret, version, &mint) {
                Ok(entry) if !entries.contains_key(&id) => drop(entries.insert(id, entry)),
                Ok(_) => problems.push(Error::CredentialTwice(id)),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let placeholders: BTreeMap<_, BTreeMap<_, _>> = agents
            .iter()
            .map(|agent| {
                let names =
                    |(id, entry): (&CredentialId, &Entry)| (id.clone(), entry.names(agent, &mint));
                (agent.clone(), entries.iter().map(names).collect())
            })
            .collect();
        let watch = Arc::new(mint.watch().map_err(|problem| vec![problem])?);
        let patterns = patterns(&entries, &placeholders).map_err(|problem| vec![problem])?;
        Ok(Self {
            claims: claims(&entries),
            entries,
            placeholders,
            watch,
            patterns: Arc::new(patterns),
        })
    }

    /// What this agent holds instead of this credential.
    pub fn placeholder(&self, agent: &AgentId, credential: &CredentialId) -> Option<&str> {
        Some(&self.placeholders.get(agent)?.get(credential)?.current)
    }

    /// Whether some credential is bound to this origin, so that an agent's own key is taken off.
    pub fn is_brokered(&self, origin: &Origin) -> bool {
        self.claims.contains_key(origin)
    }

    /// What finds placeholders in bodies that are not held whole.
    pub fn watch(&self) -> Arc<Watch> {
        Arc::clone(&self.watch)
    }

    /// What finds secrets in responses.
    pub fn patterns(&self) -> Arc<Patterns> {
        Arc::clone(&self.patterns)
    }

    /// Whether every secret of another snapshot is one of this one's, in the same form, so that [`Custody::patterns`] find it.
    pub fn knows_all_of(&self, other: &Self) -> bool {
        other.entries.iter().all(|(id, theirs)| {
            self.entries.get(id).is_some_and(|ours| {
                ours.version == theirs.version
                    && ours.thumbprint == theirs.thumbprint
                    && ours.spec.kind == theirs.spec.kind
            })
        })
    }

    /// What a receipt says of a credential that is about to be used.
    pub fn describe(&self, id: &CredentialId) -> Option<Used> {
        let entry = self.entries.get(id)?;
        Some(Used {
            id: id.clone(),
            version: entry.version,
            kind: entry.spec.kind.name(),
            thumbprint: Arc::clone(&entry.thumbprint),
        })
    }

    /// Every credential: its declaration and the version of its secret.
    pub fn credentials(&self) -> impl Iterator<Item = (&CredentialSpec, u32)> {
        self.entries
            .values()
            .map(|entry| (&entry.spec, entry.version))
    }
}

impl fmt::Debug for Custody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = |entry: &Entry| format!("{} ({})", entry.spec.kind.name(), entry.version);
        let held: BTreeMap<_, _> = self
            .entries
            .iter()
            .map(|(id, entry)| (id, held(entry)))
            .collect();
        let agents: Vec<_> = self.placeholders.keys().collect();
        f.debug_struct("Custody")
            .field("credentials", &held)
            .field("agents", &agents)
            .finish_non_exhaustive()
    }
}

impl Entry {
    fn build(
        spec: CredentialSpec,
        secret: Secret,
        version: u32,
        mint: &Mint,
    ) -> Result<Self, Error> {
        let unfit = |problem| Error::CredentialUnfit {
            id: spec.id.clone(),
            problem,
        };
        check_size(spec.id.as_str(), &secret)?;
        if spec.origins.is_empty() {
            return Err(unfit("is bound to no origin"));
        }
        if !is_text(&secret) {
            return Err(unfit("has a secret that is not text in UTF-8"));
        }
        let form = Form::build(&spec.kind, &secret).map_err(unfit)?;
        let thumbprint = mint.thumbprint(&secret);
        Ok(Self {
            spec,
            secret,
            form,
            version,
            thumbprint,
        })
    }

    fn names(&self, agent: &AgentId, mint: &Mint) -> Names {
        let shape = self.spec.shape.settle(&self.spec.origins, &self.secret);
        let make = |version| mint.make(shape, agent, &self.spec.id, version);
        let oldest = self.version.saturating_sub(EARLIER_VERSIONS).max(1);
        Names {
            current: make(self.version),
            earlier: (oldest..self.version).map(make).collect(),
        }
    }
}

/// Refuses secrets that are too short to be found in a response, or too long to be one.
pub(crate) fn check_size(name: &str, secret: &Secret) -> Result<(), Error> {
    let (min, max) = (SECRET_BYTES_MIN, SECRET_BYTES_MAX);
    if (min..=max).contains(&secret.len()) {
        return Ok(());
    }
    Err(Error::SecretSize {
        name: name.to_owned(),
        bytes: secret.len(),
        min,
        max,
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "a secret that is not text cannot be placed in JSON"
)]
fn is_text(secret: &Secret) -> bool {
    std::str::from_utf8(secret.open()).is_ok()
}

fn claims(entries: &BTreeMap<CredentialId, Entry>) -> HashMap<Origin, Claims> {
    let mut claims: HashMap<Origin, Claims> = HashMap::new();
    for (id, entry) in entries {
        for origin in &entry.spec.origins {
            let claim = claims.entry(origin.clone()).or_default();
            let own = entry.form.header();
            for name in STANDARD_SLOTS.iter().chain(own) {
                if !claim.headers.contains(name) {
                    claim.headers.push(name.clone());
                }
            }
            claim.queries.extend(entry.form.query().map(str::to_owned));
            claim.credentials.push(id.clone());
        }
    }
    claims
}

/// What redaction looks for: each secret and what is derived from it; our own placeholders look like keys but pass.
fn patterns(
    entries: &BTreeMap<CredentialId, Entry>,
    placeholders: &BTreeMap<AgentId, BTreeMap<CredentialId, Names>>,
) -> Result<Patterns, Error> {
    let mut derived = Vec::new();
    for (id, entry) in entries {
        if let Kind::Basic { username } = &entry.spec.kind {
            let pair = basic::pair_text(username, &entry.secret);
            derived.push((id.as_str(), Secret::new(pair.as_bytes().to_vec())));
        }
    }
    let held = entries
        .iter()
        .map(|(id, entry)| (id.as_str(), &entry.secret));
    let secrets: Vec<_> = held
        .chain(derived.iter().map(|(id, secret)| (*id, secret)))
        .collect();
    let names = placeholders.values().flat_map(BTreeMap::values);
    let allowed: Vec<&str> = names.flat_map(Names::all).collect();
    Ok(Patterns::compile(&secrets, &allowed)?)
}
