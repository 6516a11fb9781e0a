//! What a data folder holds beside the ledger: master key, vault, and the keys that are sealed under it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use exeat_custody::{Live, MasterKey, SoftwareSigner, Vault, token::TokenKey};
use exeat_ledger::{Ahead, Devices, Held, Ledger, Position};
use exeat_policy::Policy;
use exeat_types::{CallId, Clock, Secret, SystemClock, random_bytes};

use super::{master::Places as MasterPlaces, state::State};
use crate::{
    folder::DataFolder,
    settings::{Anchor, Master, Settings, read_sources},
};

/// The keys that lie sealed in a folder.
const SEALED_KEYS: [&str; 3] = ["ledger-key", "token-key", "placeholder-key"];

/// What a folder holds beside the ledger, opened.
pub(crate) struct Stores {
    pub(super) folder: DataFolder,
    pub(super) settings: Option<Settings>,
    pub(super) master: MasterKey,
    pub(super) vault: Vault,
    pub(super) signer: Arc<SoftwareSigner>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tokens: Arc<TokenKey>,
    pub(super) placeholder_key: Secret,
    pub(super) live: Arc<Live>,
    pub(super) compiled: exeat_policy::Cache,
}

impl Stores {
    /// Opens them; what is not there yet is made. Blocks.
    pub(crate) fn open(folder: DataFolder, settings: Option<Settings>) -> anyhow::Result<Self> {
        let kind = settings
            .as_ref()
            .map_or(Master::KeyFile, |settings| settings.master);
        let places = MasterPlaces::of(folder.path(), settings.as_ref());
        let master = places.open_or_make(kind)?;
        let vault =
            Vault::open(&folder.path().join("vault.json"), &master).context("opening the vault")?;
        let seed = sealed_key(folder.path(), &master, "ledger-key")?;
        let signer = SoftwareSigner::from_seed(&seed).context("the ledger's key")?;
        let tokens = TokenKey::new(&sealed_key(folder.path(), &master, "token-key")?);
        let placeholder_key = sealed_key(folder.path(), &master, "placeholder-key")?;
        Ok(Self {
            folder,
            settings,
            master,
            vault,
            signer: Arc::new(signer),
            clock: Arc::new(SystemClock::new()),
            tokens: Arc::new(tokens),
            placeholder_key,
            live: Live::new()?,
            compiled: exeat_policy::Cache::default(),
        })
    }

    /// Opens the ledger too. Blocks.
    pub(super) fn with_ledger(self) -> anyhow::Result<State> {
        let Devices {
            signer,
            sealer,
            clock,
        } = self.devices();
        let opened = Ledger::open(self.ledger_options(), signer, sealer, clock);
        let (ledger, recovery) = opened.context("opening the ledger")?;
        if recovery.cut.is_some() || !recovery.swept.is_empty() {
            tracing::warn!(?recovery, "the ledger was put in order after a crash");
        }
        Ok(State::of(self, ledger))
    }

    /// Compiles the policy, so that doing it again is quick. Blocks.
    pub(crate) fn compile_ahead(&mut self) -> anyhow::Result<()> {
        let Some(settings) = &self.settings else {
            return Ok(());
        };
        let sources = read_sources(&settings.policy)?;
        Policy::compile_with(&mut self.compiled, &sources, &settings.world())?;
        Ok(())
    }

    /// Reads the journal as far as the process that writes it says it is durable. Blocks.
    pub(crate) fn read_ahead(&self, end: Position) -> anyhow::Result<Ahead> {
        let folder = self.ledger_options().dir;
        Ahead::read(&folder, &*self.signer, end).context("reading the ledger")
    }

    /// Opens the ledger that another process hands over, with the calls that it has open. Blocks.
    pub(crate) fn take_over(
        self,
        ahead: Ahead,
        held: Held,
    ) -> anyhow::Result<(State, Vec<CallId>)> {
        let adopted = Ledger::adopt(self.ledger_options(), self.devices(), ahead, held);
        let (ledger, open) = adopted.context("taking the ledger over")?;
        Ok((State::of(self, ledger), open))
    }

    fn ledger_options(&self) -> exeat_ledger::Options {
        let folder = ledger_folder(self.folder.path(), self.settings.as_ref());
        let mut options = exeat_ledger::Options::new(folder);
        let anchor = self
            .settings
            .as_ref()
            .and_then(|settings| settings.ledger.anchor.clone());
        options.anchor = anchor.map(|anchor| match anchor {
            Anchor::File(path) => exeat_ledger::Anchor::File(path),
            Anchor::Command(argv) => exeat_ledger::Anchor::Command(argv),
        });
        options
    }

    fn devices(&self) -> Devices {
        Devices {
            signer: Arc::clone(&self.signer) as Arc<dyn exeat_types::Signer>,
            sealer: self.master.sealer("captures"),
            clock: Arc::clone(&self.clock),
        }
    }
}

fn ledger_folder(folder: &Path, settings: Option<&Settings>) -> PathBuf {
    match settings.and_then(|settings| settings.ledger.path.as_ref()) {
        Some(path) => folder.join(path),
        None => folder.join("ledger"),
    }
}

/// Seals the keys of a folder again, as its master key is another one.
pub(super) fn seal_again(folder: &Path, master: &MasterKey) -> anyhow::Result<()> {
    for name in SEALED_KEYS {
        if folder.join(format!("{name}.sealed")).exists() {
            let key = sealed_key(folder, master, name)?;
            write_sealed(folder, master, name, &key)?;
        }
    }
    Ok(())
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
    let key = Secret::new(random_bytes::<32>()?.to_vec());
    write_sealed(folder, master, name, &key)?;
    Ok(key)
}

fn write_sealed(folder: &Path, master: &MasterKey, name: &str, key: &Secret) -> anyhow::Result<()> {
    let path = folder.join(format!("{name}.sealed"));
    let sealed = master.seal_key(name, key)?;
    let written = crate::folder::write_private(&path, &sealed);
    written.with_context(|| format!("writing `{}`", path.display()))
}
