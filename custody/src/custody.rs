//! `Custody`: every loaded credential and every placeholder, as one immutable snapshot.
//!
//! It is built whole or not at all, and replaced whole on reload. What it does for a request is in `prepare.rs`.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use exeat_types::{
    AgentId, CredentialId, Origin, Secret, Signer,
    limits::{SECRET_BYTES_MAX, SECRET_BYTES_MIN},
};
use http::{HeaderMap, HeaderName};

use crate::{
    Asked, CredentialSpec, Error, Issuer, Kind, Made, Material, Used, Want,
    inject::{Form, STANDARD_SLOTS, basic},
    live::{Known, Live},
    placeholder::{Mint, Watch},
};

/// How many earlier versions of a placeholder are still known to have been the agent's own.
const EARLIER_VERSIONS: u32 = 8;

/// All credentials and placeholders of the gate at one moment.
pub struct Custody {
    pub(crate) entries: BTreeMap<CredentialId, Entry>,
    pub(crate) placeholders: BTreeMap<AgentId, BTreeMap<CredentialId, Names>>,
    pub(crate) claims: HashMap<Origin, Claims>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) mint: Mint,
    live: Arc<Live>,
    /// What responses are cleaned of while this snapshot is used.
    _known: Arc<Known>,
}

/// A credential with what its declaration refers to.
pub struct Loaded {
    /// Its declaration.
    pub spec: CredentialSpec,
    /// Its secret, if it has one.
    pub secret: Option<Secret>,
    /// The version of the secret.
    pub version: u32,
    /// Its key, if that is in a signer.
    pub signer: Option<Arc<dyn Signer>>,
}

impl Loaded {
    /// A credential that is a secret and nothing more.
    pub const fn new(spec: CredentialSpec, secret: Secret, version: u32) -> Self {
        Self {
            spec,
            secret: Some(secret),
            version,
            signer: None,
        }
    }
}

/// What has to be obtained before [`Custody::prepare`] can answer.
pub struct Plan {
    /// Which token.
    pub want: Want,
    /// Who issues it.
    pub issuer: Arc<dyn Issuer>,
    /// Of which credential, in which version.
    pub used: Used,
    /// Differs when the declaration, the secret or the key does: a token obtained with another one is never used.
    pub mark: u64,
}

/// One loaded credential.
pub(crate) struct Entry {
    pub(crate) spec: CredentialSpec,
    pub(crate) secret: Option<Secret>,
    pub(crate) form: Form,
    pub(crate) version: u32,
    pub(crate) thumbprint: Arc<str>,
    mark: u64,
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
    /// Builds the snapshot from credentials, their secrets and the version of each, for these agents. From then on, for as
    /// long as it is used, responses are cleaned of its secrets.
    ///
    /// # Errors
    /// Every credential that cannot be used, with why: a name used twice, no origin, a secret that is too short, too
    /// long, not text, or does not fit the place where its kind sends it.
    pub fn build(
        loaded: Vec<Loaded>,
        agents: &[AgentId],
        placeholder_key: &Secret,
        live: &Arc<Live>,
    ) -> Result<Self, Vec<Error>> {
        let mint = Mint::new(placeholder_key);
        let mut problems = Vec::new();
        let mut entries = BTreeMap::new();
        for one in loaded {
            let id = one.spec.id.clone();
            match Entry::build(one, &mint) {
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
        let known = live.admit(known(&entries, &placeholders));
        Ok(Self {
            claims: claims(&entries),
            entries,
            placeholders,
            watch,
            mint,
            live: Arc::clone(live),
            _known: known.map_err(|problem| vec![problem])?,
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

    /// What finds secrets in responses: those of this snapshot, of others that are in use, and tokens.
    pub const fn live(&self) -> &Arc<Live> {
        &self.live
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

    /// The token that a request with this credential needs, if it needs one.
    pub fn plan(&self, id: &CredentialId, request: &Asked<'_>) -> Option<Plan> {
        let entry = self.entries.get(id)?;
        let issuer = Arc::clone(entry.made()?.issuer.as_ref()?);
        let want = Want {
            credential: id.clone(),
            narrowed: issuer.narrow(request),
            origin: request.origin.clone(),
        };
        Some(Plan {
            want,
            issuer,
            used: self.describe(id)?,
            mark: entry.mark,
        })
    }

    /// Whether a body must be read whole before a request with this credential and these headers can be signed.
    pub fn needs_body(&self, id: &CredentialId, headers: &HeaderMap) -> bool {
        let signs = self.entries.get(id).and_then(Entry::made);
        let signs = signs.and_then(|made| made.signs.as_ref());
        signs.is_some_and(|signs| signs.needs_body(headers))
    }

    /// Where credentials send requests of their own.
    pub fn own_origins(&self) -> Vec<Origin> {
        let made = self
            .entries
            .values()
            .filter_map(|entry| match &entry.spec.kind {
                Kind::Made(kind) => Some(kind.origins()),
                Kind::Bearer
                | Kind::ApiKeyHeader(_)
                | Kind::ApiKeyQuery(_)
                | Kind::Basic { .. } => None,
            });
        made.flatten().collect()
    }

    /// Who issues the tokens of a credential, if tokens are issued.
    pub fn issuer(&self, id: &CredentialId) -> Option<Arc<dyn Issuer>> {
        self.entries.get(id)?.made()?.issuer.clone()
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
    fn build(loaded: Loaded, mint: &Mint) -> Result<Self, Error> {
        let Loaded {
            spec,
            secret,
            version,
            signer,
        } = loaded;
        let unfit = |problem| Error::CredentialUnfit {
            id: spec.id.clone(),
            problem,
        };
        if let Some(secret) = &secret {
            check_size(spec.id.as_str(), secret)?;
        }
        if spec.origins.is_empty() {
            return Err(unfit("is bound to no origin"));
        }
        if !secret.as_ref().is_none_or(is_text) {
            return Err(unfit("has a secret that is not text in UTF-8"));
        }
        let material = Material {
            id: &spec.id,
            secret: secret.as_ref(),
            signer: signer.as_ref(),
        };
        let form = Form::build(&spec.kind, material).map_err(unfit)?;
        let public = || {
            Secret::new(
                signer
                    .iter()
                    .flat_map(|it| it.public_key().to_vec())
                    .collect(),
            )
        };
        let thumbprint = match &secret {
            Some(secret) => mint.thumbprint(secret),
            None => mint.thumbprint(&public()),
        };
        // Kinds are known by what their `Debug` shows of their configuration.
        let mut mark = DefaultHasher::new();
        (format!("{spec:?}"), &thumbprint, version).hash(&mut mark);
        signer.map(|it| it.public_key().to_vec()).hash(&mut mark);
        Ok(Self {
            spec,
            secret,
            form,
            version,
            thumbprint,
            mark: mark.finish(),
        })
    }

    /// What the kind is made of, if it is more than a secret.
    pub(crate) const fn made(&self) -> Option<&Made> {
        match &self.form {
            Form::Made(made) => Some(made),
            Form::Header { .. } | Form::Query { .. } => None,
        }
    }

    fn names(&self, agent: &AgentId, mint: &Mint) -> Names {
        let nothing = Secret::new(Vec::new());
        let secret = self.secret.as_ref().unwrap_or(&nothing);
        let shape = self.spec.shape.settle(&self.spec.origins, secret);
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
            let own = entry.form.headers();
            for name in STANDARD_SLOTS.iter().chain(own) {
                if !claim.headers.contains(name) {
                    claim.headers.push(name.clone());
                }
            }
            claim.queries.extend_from_slice(entry.form.queries());
            claim.credentials.push(id.clone());
        }
    }
    claims
}

/// What redaction looks for: each secret and what is derived from it; our own placeholders look like keys but pass.
fn known(
    entries: &BTreeMap<CredentialId, Entry>,
    placeholders: &BTreeMap<AgentId, BTreeMap<CredentialId, Names>>,
) -> Known {
    let mut known = Known::default();
    for (id, entry) in entries {
        let Some(secret) = &entry.secret else {
            continue;
        };
        let parts = entry.made().map(|made| made.parts.as_slice());
        let parts = parts.unwrap_or_default();
        // Where the secret is a file, such as a key with the name of an account, what is public in it stays readable.
        if parts.is_empty() {
            known.secrets.push((id.to_string(), secret.duplicate()));
        }
        for part in parts {
            known.secrets.push((id.to_string(), part.duplicate()));
        }
        if let Kind::Basic { username } = &entry.spec.kind {
            let pair = Secret::new(basic::pair_text(username, secret).as_bytes().to_vec());
            known.secrets.push((id.to_string(), pair));
        }
    }
    let names = placeholders.values().flat_map(BTreeMap::values);
    known.placeholders = names.flat_map(Names::all).map(str::to_owned).collect();
    known
}
