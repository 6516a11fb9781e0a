//! A data folder, opened: what `stores.rs` has read, with the ledger and the certificate authority.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use exeat_ca::{Authority, Root, Sealed, Store};
use exeat_custody::{Keep, Live, MasterKey, Vault, token::TokenKey};
use exeat_ledger::{Ledger, PolicyChange, Record};
use exeat_pipeline::{Gate, Outbound};
use exeat_types::{Clock, Host, Secret};
use tokio::runtime::Handle;

use super::{notes::Notes, signers::Signers, stores::Stores};
use crate::{folder::DataFolder, settings::Settings};

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
    live: Arc<Live>,
    signers: Signers,
    outbound: Arc<Outbound>,
    own_ports: Mutex<BTreeSet<u16>>,
    console: Mutex<Option<(Host, u16)>>,
    compiled: Mutex<exeat_policy::Cache>,
    /// Signs for the listeners of `exeat serve`.
    authority: Mutex<Option<Arc<Authority>>>,
}

impl State {
    /// Puts it together, on a thread of a runtime.
    pub(super) fn of(stores: Stores, ledger: Ledger) -> Self {
        let outbound = Outbound::new(Arc::clone(&stores.clock), Handle::current());
        Self {
            outbound,
            folder: stores.folder,
            settings: Mutex::new(stores.settings),
            master: stores.master,
            vault: Mutex::new(stores.vault),
            ledger,
            clock: stores.clock,
            tokens: stores.tokens,
            placeholder_key: stores.placeholder_key,
            live: stores.live,
            signers: Signers::default(),
            own_ports: Mutex::default(),
            console: Mutex::default(),
            compiled: Mutex::new(stores.compiled),
            authority: Mutex::default(),
        }
    }

    /// Opens everything; what is not there yet is made.
    pub(crate) async fn open(
        folder: DataFolder,
        settings: Option<Settings>,
    ) -> anyhow::Result<Self> {
        tokio::task::spawn_blocking(move || Stores::open(folder, settings)?.with_ledger())
            .await
            .context("opening the folder")?
    }

    pub(crate) const fn folder(&self) -> &DataFolder {
        &self.folder
    }

    /// Where this gate keeps its state: nothing that runs for an agent sees it.
    pub(crate) fn hidden(&self, settings: &Settings) -> Vec<PathBuf> {
        let folder = self.folder.path();
        let ledger = settings.ledger.path.iter();
        let ledger = ledger.map(|path| folder.join(path));
        ledger.chain([folder.to_path_buf()]).collect()
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

    /// What responses are cleaned of, over all reloads.
    pub(crate) const fn live(&self) -> &Arc<Live> {
        &self.live
    }

    pub(crate) const fn signers(&self) -> &Signers {
        &self.signers
    }

    /// What requests of the gate's own go through.
    pub(crate) const fn outbound(&self) -> &Arc<Outbound> {
        &self.outbound
    }

    /// What issuers note, in the vault.
    pub(crate) fn notes(self: &Arc<Self>) -> Arc<dyn Keep> {
        Arc::new(Notes(Arc::clone(self)))
    }

    /// What is sealed, for whoever asks other stores too.
    pub(crate) const fn sealed(&self) -> &Mutex<Vault> {
        &self.vault
    }

    /// The vault. SECURITY: never held while something outside is asked, or the whole gate stands still.
    pub(crate) fn vault(&self) -> MutexGuard<'_, Vault> {
        self.vault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the sealed secrets again, as another process has changed them.
    pub(crate) fn reopen_vault(&self) -> anyhow::Result<()> {
        let path = self.folder.path().join("vault.json");
        let fresh = Vault::open(&path, &self.master).context("opening the vault")?;
        *self.vault() = fresh;
        Ok(())
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

    /// Says where people reach the console.
    pub(crate) fn console_is_at(&self, place: Option<(Host, u16)>) {
        *self.console_place() = place;
    }

    pub(crate) fn console_place(&self) -> MutexGuard<'_, Option<(Host, u16)>> {
        self.console.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// The root of a sandbox, sealed for a moment, for the process that takes over.
    pub(crate) fn seal_root(&self, root: &Root) -> anyhow::Result<Sealed> {
        root.seal(&*self.master.sealer("hand-over"))
            .context("sealing the root of a sandbox")
    }

    /// The root of a sandbox that the process before this one sealed.
    pub(crate) fn unseal_root(&self, sealed: &Sealed) -> anyhow::Result<Root> {
        Root::unseal(sealed, &*self.master.sealer("hand-over"))
            .context("opening the root of a sandbox")
    }

    /// The authority that signs for the listeners from here on.
    pub(crate) fn keep_authority(&self, authority: &Arc<Authority>) {
        *self.authority() = Some(Arc::clone(authority));
    }

    /// Has the listeners' authority sign with the root that is stored, if that is another one.
    pub(crate) fn renew_root(&self) -> anyhow::Result<()> {
        let authority = self.authority().clone();
        let (Some(authority), Some(store)) = (authority, self.ca()?) else {
            return Ok(());
        };
        if authority.root().fingerprint() != store.current().fingerprint() {
            authority.replace_root(Arc::clone(store.current()));
            tracing::info!("listeners sign with another root from here on");
        }
        Ok(())
    }

    fn authority(&self) -> MutexGuard<'_, Option<Arc<Authority>>> {
        self.authority
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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

/// Reads what agents have done before. A gate that cannot serves all the same, and takes everything for new.
pub(super) async fn remember(gate: &Arc<Gate>) {
    let gate = Arc::clone(gate);
    match tokio::task::spawn_blocking(move || gate.remember()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(
            error = &error as &dyn std::error::Error,
            "what agents have done before is not known"
        ),
        Err(error) => tracing::error!(%error, "reading what agents have done before broke off"),
    }
}
