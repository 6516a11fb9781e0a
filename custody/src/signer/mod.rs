//! Signers: keys that sign and never leave their place, and how the configuration names that place.
//!
//! Owns the contract between the gate and a place for keys ([`SignerKind`]). A signer is opened once per process; what
//! fails refuses, and no other key is ever taken in its stead. `device.rs` keeps keys in devices at hand, the other files
//! are one place each.

mod device;
mod encoding;
#[cfg(feature = "pkcs11")]
pub(crate) mod pkcs11;
mod remote;
mod software;
#[cfg(feature = "tpm")]
pub(crate) mod tpm;

use std::{fmt, path::Path, sync::Arc};

use exeat_types::{Algorithm, Clock, Origin, Secret, Signer};

use crate::{Error, Outside, SecretRef};

pub(crate) use encoding::element;
pub use encoding::{public_key, public_pem, public_ssh, raw_of_der, rsa_numbers, spki, verifies};
#[cfg(feature = "pkcs11")]
pub use pkcs11::{Pkcs11Key, Pkcs11Token};
pub use remote::{AwsKmsKey, GcpKmsKey, PeerKey, TransitKey};
pub(crate) use software::key_der;
pub use software::{SoftwareKey, SoftwareSigner};
#[cfg(feature = "tpm")]
pub use tpm::{Place, TpmKey};

/// Where the key of a signer lies, as the configuration says.
pub trait SignerKind: fmt::Debug + Send + Sync {
    /// The word used in configuration.
    fn word(&self) -> &'static str;

    /// What has to be had to get at the key: the key itself, a PIN, a token. They come in this order in [`Opening::secrets`].
    fn secrets(&self) -> Vec<&SecretRef> {
        Vec::new()
    }

    /// Where keys of this kind are reached over the network; no other place is.
    fn origins(&self) -> Vec<&Origin> {
        Vec::new()
    }

    /// Opens the key. Blocks.
    ///
    /// # Errors
    /// When its place is not there, does not let us in, has no such key, or one that cannot sign or could be copied.
    fn open(&self, with: &Opening<'_>) -> Result<Arc<dyn Signer>, Error>;

    /// Makes the key at its place. Blocks.
    ///
    /// # Errors
    /// When there is a key already, or its place makes no such keys.
    fn create(&self, with: &Opening<'_>, algorithm: Algorithm) -> Result<NewKey, Error> {
        let problem = format!(
            "keys of kind `{}` are made where they lie, not by Exeat ({})",
            self.word(),
            algorithm.name()
        );
        Err(with.failed(problem))
    }
}

/// What opening a signer has at hand.
pub struct Opening<'a> {
    /// The name of the signer in the configuration.
    pub name: &'a str,
    /// What [`SignerKind::secrets`] refers to.
    pub secrets: &'a [Secret],
    /// The world; absent in commands that run without a gate.
    pub outside: Option<&'a Arc<dyn Outside>>,
    /// The time.
    pub clock: &'a Arc<dyn Clock>,
    /// The data folder.
    pub folder: &'a Path,
    /// The devices that the process uses.
    pub devices: &'a Devices,
}

/// What a process has at most once of each device, for all its signers.
#[derive(Debug, Default)]
pub struct Devices {
    #[cfg(feature = "pkcs11")]
    pub(crate) modules: pkcs11::modules::Modules,
}

impl Opening<'_> {
    /// A failure that names the signer.
    pub fn failed(&self, problem: impl Into<String>) -> Error {
        Error::Signer {
            name: self.name.to_owned(),
            problem: problem.into(),
        }
    }
}

/// A key that was just made.
pub struct NewKey {
    /// It, ready for use.
    pub signer: Arc<dyn Signer>,
    /// What the vault is to keep under a name, when the key lies in no device.
    pub keep: Option<(String, Secret)>,
}
