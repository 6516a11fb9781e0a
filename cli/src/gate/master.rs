//! Where the master key of a data folder is kept, and how it moves from one place to another: it is kept in the new place
//! and read back from there before it leaves the old one, so that it can be had at every moment between.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use exeat_custody::{Cost, Keyring as _, MasterKey, OsKeyring, Vault};

use super::stores::seal_again;
use crate::{
    passphrase::{self, Age},
    settings::{Master, MasterDevices, Settings},
};

/// The name of the master key in the operating system's keyring.
const KEYRING_ENTRY: &str = "exeat-master-key";
/// The list of earlier keys, in the data folder.
const EARLIER: &str = "master.earlier.json";
/// Every way that leaves a file in the folder.
const WITH_FILES: [Master; 4] = [
    Master::KeyFile,
    Master::Passphrase,
    Master::Tpm,
    Master::Pkcs11,
];

/// The places where the master key of one folder may be kept.
pub(crate) struct Places {
    folder: PathBuf,
    devices: MasterDevices,
}

impl Places {
    /// Those of a data folder; devices are what the configuration says.
    pub(crate) fn of(folder: &Path, settings: Option<&Settings>) -> Self {
        Self {
            folder: folder.to_owned(),
            devices: settings
                .map(|settings| settings.master_devices.clone())
                .unwrap_or_default(),
        }
    }

    /// Where the key is kept now; nowhere in a new folder.
    pub(crate) fn kept(&self) -> Vec<Master> {
        let there = |way: &Master| self.file(*way).is_some_and(|file| file.exists());
        let kept: Vec<Master> = WITH_FILES.into_iter().filter(there).collect();
        // A keyring leaves no file, only what is sealed under its key.
        if kept.is_empty() && self.is_used() {
            return vec![Master::Keyring];
        }
        kept
    }

    /// Whether something is sealed under a master key already.
    fn is_used(&self) -> bool {
        ["vault.json", "ledger-key.sealed"]
            .iter()
            .any(|name| self.folder.join(name).exists())
    }

    fn file(&self, way: Master) -> Option<PathBuf> {
        let name = match way {
            Master::KeyFile => "master.key",
            Master::Passphrase => "master.json",
            Master::Tpm => "master.tpm.json",
            Master::Pkcs11 => "master.pkcs11.json",
            Master::Keyring => return None,
        };
        Some(self.folder.join(name))
    }

    fn path(&self, way: Master) -> PathBuf {
        self.file(way).unwrap_or_else(|| self.folder.clone())
    }

    /// The key; a new one in a new folder.
    ///
    /// # Errors
    /// When it cannot be had. A key is never made where another was before.
    pub(crate) fn open_or_make(&self, way: Master) -> anyhow::Result<MasterKey> {
        self.with_earlier(self.open_or_make_one(way)?)
    }

    fn open_or_make_one(&self, way: Master) -> anyhow::Result<MasterKey> {
        let kept = self.kept();
        if kept.contains(&way) {
            if kept.len() > 1 {
                tracing::warn!(
                    "the master key is kept in more than one place; `exeat master move` leaves one"
                );
            }
            return self.open(way);
        }
        if let [elsewhere, ..] = *kept {
            bail!(
                "the master key of this folder is kept by {}, and the configuration says `master = \"{}\"`; `exeat master move` moves it",
                elsewhere.told(),
                way.word()
            );
        }
        let made = MasterKey::generate()?;
        self.keep(way, &made)?;
        Ok(made)
    }

    /// Moves the key from wherever it is kept to this place alone.
    ///
    /// # Errors
    /// When it cannot be had, kept or read back; then it is where it was.
    pub(crate) fn move_to(&self, way: Master) -> anyhow::Result<Moved> {
        let kept = self.kept();
        let from: Vec<Master> = kept.iter().copied().filter(|one| *one != way).collect();
        let key = match (from.first(), kept.contains(&way)) {
            (Some(from), false) => {
                let key = self.open(*from)?;
                self.keep(way, &key)?;
                key
            }
            // Moved before, but not to the end.
            (_, true) => self.open(way)?,
            (None, false) => bail!("there is no master key yet; whatever starts first makes one"),
        };
        let read = self.with_earlier(self.open(way).context("reading the key back")?)?;
        if read.fingerprint() != key.fingerprint() {
            bail!("what was read back is another key; nothing was removed");
        }
        // SECURITY: nothing is removed before the key that stays has opened what it must open.
        self.prove(&read)?;
        for old in WITH_FILES {
            self.wipe(&self.path(old).with_extension("removed"))?;
        }
        for old in &from {
            self.forget(*old)?;
        }
        Ok(Moved {
            from,
            fingerprint: read.fingerprint(),
        })
    }

    /// Puts a new key in the place of the one that there is. What was sealed under the old one still opens; the vault and
    /// the keys of the folder are sealed anew.
    ///
    /// # Errors
    /// When the old key cannot be had, or the new one not kept; then the old one stays in force.
    pub(crate) fn rotate(&self, way: Master) -> anyhow::Result<MasterKey> {
        if !self.kept().contains(&way) {
            bail!("the master key is not kept by {}", way.told());
        }
        let list = self.folder.join(EARLIER);
        let old = self.with_earlier(self.open(way)?)?;
        let new = old.succeed(&list).context("making the new key")?;
        self.replace(way, &new)?;
        let read = self.with_earlier(self.open(way).context("reading the key back")?)?;
        if read.fingerprint() != new.fingerprint() {
            bail!(
                "what was read back is another key; the old one is in `{}`",
                list.display()
            );
        }
        read.settle(&list).context("after the new key is kept")?;
        drop(Vault::open(&self.folder.join("vault.json"), &read).context("the vault")?);
        seal_again(&self.folder, &read)?;
        Ok(read)
    }

    fn with_earlier(&self, key: MasterKey) -> anyhow::Result<MasterKey> {
        let key = key.with_earlier(&self.folder.join(EARLIER));
        key.context("the earlier master keys")
    }

    /// Keeps another key in this way, in one step.
    fn replace(&self, way: Master, key: &MasterKey) -> anyhow::Result<()> {
        let Some(path) = self.file(way) else {
            let replaced = key.replace_in_keyring(&OsKeyring, KEYRING_ENTRY);
            return replaced.context("replacing the key in the keyring");
        };
        let beside = path.with_extension("next");
        match fs::remove_file(&beside) {
            Err(problem) if problem.kind() != ErrorKind::NotFound => return Err(problem.into()),
            Ok(()) | Err(_) => {}
        }
        self.keep_at(way, key, &beside)?;
        let moved = fs::rename(&beside, &path);
        let moved = moved.and_then(|()| fs::File::open(&self.folder)?.sync_all());
        moved.with_context(|| format!("replacing `{}`", path.display()))
    }

    /// Puts another passphrase in the place of the one that there is.
    ///
    /// # Errors
    /// When there is none, it is wrong, or the file cannot be written; then the old one stays.
    pub(crate) fn change_passphrase(&self) -> anyhow::Result<MasterKey> {
        if !self.kept().contains(&Master::Passphrase) {
            bail!("the master key of this folder has no passphrase");
        }
        let key = self.open(Master::Passphrase)?;
        let new = passphrase::read(Age::Next)?;
        key.change_passphrase(&self.path(Master::Passphrase), &new, Cost::default())
            .context("changing the passphrase")?;
        Ok(key)
    }

    fn open(&self, way: Master) -> anyhow::Result<MasterKey> {
        let path = self.path(way);
        let key = match way {
            Master::KeyFile => MasterKey::from_key_file(&path),
            Master::Passphrase => MasterKey::from_passphrase(&path, &passphrase::read(Age::Known)?),
            Master::Keyring => MasterKey::from_keyring(&OsKeyring, KEYRING_ENTRY),
            Master::Tpm => return self.open_by_tpm(&path),
            Master::Pkcs11 => {
                let (token, pin, devices) = self.token()?;
                MasterKey::from_token(&path, token, pin.as_ref(), &devices)
            }
        };
        key.with_context(|| format!("the master key, kept by {}", way.told()))
    }

    fn keep(&self, way: Master, key: &MasterKey) -> anyhow::Result<()> {
        self.keep_at(way, key, &self.path(way))
    }

    fn keep_at(&self, way: Master, key: &MasterKey, path: &Path) -> anyhow::Result<()> {
        let kept = match way {
            Master::KeyFile => key.keep_in_file(path),
            Master::Passphrase => {
                let passphrase = passphrase::read(Age::New)?;
                key.keep_with_passphrase(path, &passphrase, Cost::default())
            }
            Master::Keyring => key.keep_in_keyring(&OsKeyring, KEYRING_ENTRY),
            Master::Tpm => return self.keep_by_tpm(path, key),
            Master::Pkcs11 => {
                let (token, pin, devices) = self.token()?;
                key.keep_in_token(path, token, pin.as_ref(), &devices)
            }
        };
        kept.with_context(|| format!("keeping the master key by {}", way.told()))
    }

    fn forget(&self, way: Master) -> anyhow::Result<()> {
        let Some(path) = self.file(way) else {
            return OsKeyring
                .remove(KEYRING_ENTRY)
                .context("removing the key from the keyring");
        };
        // Under its own name the file is whole or not there.
        let removed = path.with_extension("removed");
        fs::rename(&path, &removed).with_context(|| format!("removing `{}`", path.display()))?;
        self.wipe(&removed)
    }

    /// Overwrites a file, if it is there, and removes it.
    fn wipe(&self, path: &Path) -> anyhow::Result<()> {
        if !path.exists() {
            return Ok(());
        }
        let wiped = || -> std::io::Result<()> {
            // What a copy-on-write file system or a worn disk keeps of it is beyond a program's reach.
            let length = usize::try_from(fs::metadata(path)?.len()).unwrap_or_default();
            let mut file = fs::OpenOptions::new().write(true).open(path)?;
            file.write_all(&vec![0; length])?;
            file.sync_all()?;
            fs::remove_file(path)?;
            fs::File::open(&self.folder)?.sync_all()
        };
        wiped().with_context(|| format!("removing `{}`", path.display()))
    }

    /// Whether a key opens what is sealed in the folder.
    fn prove(&self, key: &MasterKey) -> anyhow::Result<()> {
        const SEALED: &str = "ledger-key";
        let path = self.folder.join(format!("{SEALED}.sealed"));
        if path.exists() {
            let sealed =
                fs::read(&path).with_context(|| format!("reading `{}`", path.display()))?;
            let opened = key.sealer("keys").open(SEALED, &sealed);
            opened.context("the key does not open this folder; nothing was removed")?;
        }
        Ok(())
    }

    fn token(
        &self,
    ) -> anyhow::Result<(
        &exeat_custody::signer::Pkcs11Key,
        Option<exeat_types::Secret>,
        exeat_custody::Devices,
    )> {
        let token = self.devices.token.as_ref();
        let token = token.context("no `[custody.pkcs11]` in the configuration names the token")?;
        let stores = exeat_custody::Stores {
            vault: None,
            keyring: &OsKeyring,
            server: None,
            environment: &|name: &str| crate::env::variable(name),
        };
        let pin = match &token.token.pin {
            Some(pin) => Some(
                pin.resolve_unsent(&stores)
                    .context("the PIN of the token")?
                    .0,
            ),
            None => None,
        };
        Ok((token, pin, exeat_custody::Devices::default()))
    }

    #[cfg(feature = "tpm")]
    fn open_by_tpm(&self, path: &Path) -> anyhow::Result<MasterKey> {
        MasterKey::from_tpm(path, &self.devices.tcti).context("opening the master key by the TPM")
    }

    #[cfg(feature = "tpm")]
    fn keep_by_tpm(&self, path: &Path, key: &MasterKey) -> anyhow::Result<()> {
        key.keep_in_tpm(path, &self.devices.tcti)
            .context("sealing the master key by the TPM")
    }

    #[cfg(not(feature = "tpm"))]
    fn open_by_tpm(&self, _: &Path) -> anyhow::Result<MasterKey> {
        bail!("this program was built without TPM support")
    }

    #[cfg(not(feature = "tpm"))]
    fn keep_by_tpm(&self, _: &Path, _: &MasterKey) -> anyhow::Result<()> {
        bail!("this program was built without TPM support")
    }
}

/// A key that was moved.
pub(crate) struct Moved {
    /// Where it was before.
    pub(crate) from: Vec<Master>,
    /// The key, by a name that tells nothing about it.
    pub(crate) fingerprint: String,
}
