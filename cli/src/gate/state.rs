//! What a data folder holds, opened: master key, vault, ledger, certificate authority, and the keys they are sealed under.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use exeat_ca::{Root, Store};
use exeat_custody::{MasterKey, OsKeyring, SoftwareSigner, Vault, token::TokenKey};
use exeat_ledger::{Ledger, PolicyChange, Record};
use exeat_pipeline::Gate;
use exeat_types::{Clock, Secret, SystemClock, random_bytes};

use crate::{
    folder::DataFolder,
    passphrase::{self, Age},
    settings::{Anchor, Master, Settings},
};

/// The name of the master key in the operating system's keyring.
const KEYRING_ENTRY: &str = "exeat-master-key";
/// How long a stored root lives.
const ROOT_LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The opened folder.
pub(crate) struct State {
    folder: DataFolder,
    settings: Mutex<Option<Settings>>,
    master: MasterKey,
    vault: Mutex<Vault>,
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    tokens: Arc<TokenKey>,
    placeholder_key: Secret,
    own_ports: Mutex<BTreeSet<u16>>,
    compiled: Mutex<exeat_policy::Cache>,
}

impl State {
    /// Opens everything; what is not there yet is made.
    pub(crate) async fn open(
        folder: DataFolder,
        settings: Option<Settings>,
    ) -> anyhow::Result<Self> {
        tokio::task::spawn_blocking(move || Self::open_blocking(folder, settings))
            .await
            .context("opening the folder")?
    }

    fn open_blocking(folder: DataFolder, settings: Option<Settings>) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let kind = settings
            .as_ref()
            .map_or(Master::KeyFile, |settings| settings.master);
        let master = master_key(folder.path(), kind)?;
        let vault =
            Vault::open(&folder.path().join("vault.json"), &master).context("opening the vault")?;
        let seed = sealed_key(folder.path(), &master, "ledger-key")?;
        let signer = SoftwareSigner::from_seed(&seed).context("the ledger's key")?;
        let mut options =
            exeat_ledger::Options::new(ledger_folder(folder.path(), settings.as_ref()));
        options.anchor = settings
            .as_ref()
            .and_then(|settings| settings.ledger.anchor.clone())
            .map(|anchor| match anchor {
                Anchor::File(path) => exeat_ledger::Anchor::File(path),
                Anchor::Command(argv) => exeat_ledger::Anchor::Command(argv),
            });
        let opened = Ledger::open(
            options,
            Arc::new(signer),
            master.sealer("captures"),
            Arc::clone(&clock),
        );
        let (ledger, recovery) = opened.context("opening the ledger")?;
        if recovery.cut.is_some() || !recovery.swept.is_empty() {
            tracing::warn!(?recovery, "the ledger was put in order after a crash");
        }
        let tokens = Arc::new(TokenKey::new(&sealed_key(
            folder.path(),
            &master,
            "token-key",
        )?));
        let placeholder_key = sealed_key(folder.path(), &master, "placeholder-key")?;
        Ok(Self {
            folder,
            settings: Mutex::new(settings),
            master,
            vault: Mutex::new(vault),
            ledger,
            clock,
            tokens,
            placeholder_key,
            own_ports: Mutex::default(),
            compiled: Mutex::default(),
        })
    }

    pub(crate) const fn folder(&self) -> &DataFolder {
        &self.folder
    }

    pub(crate) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(crate) const fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub(crate) fn tokens(&self) -> Arc<TokenKey> {
        Arc::clone(&self.tokens)
    }

    pub(crate) const fn placeholder_key(&self) -> &Secret {
        &self.placeholder_key
    }

    pub(crate) fn vault(&self) -> MutexGuard<'_, Vault> {
        self.vault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn settings(&self) -> Option<Settings> {
        self.settings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn replace_settings(&self, settings: Settings) {
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = Some(settings);
    }

    pub(crate) fn own_ports(&self, ports: BTreeSet<u16>) {
        *self.ports() = ports;
    }

    pub(crate) fn ports(&self) -> MutexGuard<'_, BTreeSet<u16>> {
        self.own_ports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What the last compilation of the policy left to reuse.
    pub(crate) fn compiled(&self) -> MutexGuard<'_, exeat_policy::Cache> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The certificate authority's store; `None` before the first root.
    pub(crate) fn ca(&self) -> anyhow::Result<Option<Store>> {
        let folder = self.ca_folder();
        if !folder.exists() {
            return Ok(None);
        }
        Store::load(&folder, &*self.master.sealer("ca"))
            .map(Some)
            .context("opening the certificate authority")
    }

    /// Makes the first root.
    pub(crate) fn ca_init(&self) -> anyhow::Result<Store> {
        let root = self.new_root()?;
        Store::init(&self.ca_folder(), root, &*self.master.sealer("ca"))
            .context("storing the first root")
    }

    /// Makes a new root; the old one stays in the bundle for an overlap.
    pub(crate) fn ca_rotate(&self) -> anyhow::Result<Store> {
        let mut store = self
            .ca()?
            .context("there is no root yet; `exeat ca init` makes one")?;
        store
            .rotate(self.new_root()?, &*self.master.sealer("ca"))
            .context("storing the new root")?;
        Ok(store)
    }

    /// The store, made on first use.
    pub(crate) fn ca_or_init(&self) -> anyhow::Result<Store> {
        match self.ca()? {
            Some(store) => Ok(store),
            None => self.ca_init(),
        }
    }

    fn new_root(&self) -> anyhow::Result<Root> {
        Root::generate("Exeat local root", self.clock.now(), ROOT_LIFE).context("making a root")
    }

    fn ca_folder(&self) -> PathBuf {
        self.folder.path().join("ca")
    }

    /// Writes the roots that upstream certificates may chain to, for Pingora, and returns the file.
    pub(crate) fn write_roots(&self, settings: &Settings) -> anyhow::Result<PathBuf> {
        let system = exeat_ca::system_roots().context("reading the system's roots")?;
        let text = exeat_ca::bundle(&system.certificates, &settings.network.upstream_roots);
        let path = self.folder.path().join("upstream-roots.pem");
        std::fs::write(&path, text).with_context(|| format!("writing `{}`", path.display()))?;
        Ok(path)
    }

    /// States in the ledger which policy decides from here on.
    pub(crate) fn record_policy(&self, gate: &Gate) {
        let policy = &gate.rules().policy;
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        drop(self.ledger.append(&Record::PolicyChange(PolicyChange {
            policy_digest: policy.digest(),
            rules: count(policy.rule_count()),
            tools: count(policy.tools().count()),
        })));
    }

    /// Writes what is waiting and closes the ledger.
    pub(crate) async fn close(&self) -> anyhow::Result<()> {
        let ledger = self.ledger.clone();
        tokio::task::spawn_blocking(move || ledger.close())
            .await
            .context("closing the ledger")
    }
}

fn ledger_folder(folder: &Path, settings: Option<&Settings>) -> PathBuf {
    match settings.and_then(|settings| settings.ledger.path.as_ref()) {
        Some(path) => folder.join(path),
        None => folder.join("ledger"),
    }
}

fn master_key(folder: &Path, kind: Master) -> anyhow::Result<MasterKey> {
    match kind {
        Master::KeyFile => {
            let path = folder.join("master.key");
            let key = if path.exists() {
                MasterKey::from_key_file(&path)
            } else {
                MasterKey::create_key_file(&path)
            };
            key.context("the master key file")
        }
        Master::Passphrase => {
            let path = folder.join("master.json");
            let passphrase = passphrase::read(if path.exists() { Age::Known } else { Age::New })?;
            let key = if path.exists() {
                MasterKey::from_passphrase(&path, &passphrase)
            } else {
                MasterKey::create_with_passphrase(
                    &path,
                    &passphrase,
                    exeat_custody::Cost::default(),
                )
            };
            key.context("the master key from the passphrase")
        }
        Master::Keyring => {
            let known = folder.join("vault.json").exists();
            let key = if known {
                MasterKey::from_keyring(&OsKeyring, KEYRING_ENTRY)
            } else {
                MasterKey::create_in_keyring(&OsKeyring, KEYRING_ENTRY)
            };
            key.context("the master key in the keyring")
        }
    }
}

/// A random key that is kept sealed in the folder, made on first use.
fn sealed_key(folder: &Path, master: &MasterKey, name: &str) -> anyhow::Result<Secret> {
    let path = folder.join(format!("{name}.sealed"));
    let sealer = master.sealer("keys");
    let shown = path.display().to_string();
    if path.exists() {
        let sealed = std::fs::read(&path).with_context(|| format!("reading `{shown}`"))?;
        return sealer
            .open(name, &sealed)
            .with_context(|| format!("opening `{shown}` with the master key"));
    }
    let key: [u8; 32] = random_bytes()?;
    let sealed = sealer.seal(name, &key)?;
    crate::folder::write_private(&path, &sealed).with_context(|| format!("writing `{shown}`"))?;
    sealer
        .open(name, &sealed)
        .with_context(|| format!("opening `{shown}` with the master key"))
}
