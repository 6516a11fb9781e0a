//! The way to a TPM: a session bound to its storage key, what it makes and seals, and the files that this lies in.

use std::{path::Path, str::FromStr as _};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use exeat_types::Secret;
use serde::{Deserialize, Serialize};
use tss_esapi::{
    Context, Error as Failure, TctiNameConf,
    attributes::{ObjectAttributesBuilder, SessionAttributesBuilder},
    constants::SessionType,
    handles::{KeyHandle, PersistentTpmHandle, SessionHandle, TpmHandle},
    interface_types::{
        algorithm::{HashingAlgorithm, PublicAlgorithm},
        ecc::EccCurve,
        resource_handles::Hierarchy,
    },
    structures::{
        Auth, Digest, EccPoint, EccScheme, HashScheme, KeyDerivationFunctionScheme,
        KeyedHashScheme, Private, Public, PublicBuilder, PublicEccParametersBuilder,
        PublicKeyedHashParameters, SensitiveData, SymmetricDefinition, SymmetricDefinitionObject,
    },
    traits::{Marshall as _, UnMarshall as _},
    utils::create_unrestricted_signing_ecc_public,
};

use crate::{Error, file};

const FORMAT: u32 = 1;
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// An object of a TPM as it lies in a file: encrypted by that TPM.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Blob {
    format: u32,
    public: String,
    private: String,
}

impl Blob {
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let read = file::read(path, FILE_BYTES_MAX)
            .map_err(|problem| format!("is in `{shown}`: {problem}"))?;
        let bytes = read.ok_or_else(|| {
            format!("has no key yet in `{shown}`; `exeat signer create` makes one")
        })?;
        let blob: Self = serde_json::from_slice(&bytes)
            .map_err(|problem| format!("is in `{shown}`, which is damaged: {problem}"))?;
        if blob.format != FORMAT {
            return Err(format!(
                "is in `{shown}`, which has format {}, not {FORMAT}",
                blob.format
            ));
        }
        Ok(blob)
    }

    /// Writes it to a new file.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        let damaged = |problem: serde_json::Error| Error::NotA {
            what: "object of a TPM",
            path: path.to_owned(),
            problem: problem.to_string(),
        };
        file::create(path, &serde_json::to_vec_pretty(self).map_err(damaged)?)
    }

    fn of(public: &Public, private: &Private) -> Result<Self, String> {
        Ok(Self {
            format: FORMAT,
            public: BASE64_STANDARD.encode(public.marshall().map_err(failed)?),
            private: BASE64_STANDARD.encode(private.value()),
        })
    }

    fn parts(&self) -> Result<(Public, Private), String> {
        let bytes = |text: &str| {
            BASE64_STANDARD
                .decode(text)
                .map_err(|_cause| "lies in a damaged file".to_owned())
        };
        let public = Public::unmarshall(&bytes(&self.public)?).map_err(failed)?;
        let private = Private::try_from(bytes(&self.private)?).map_err(failed)?;
        Ok((public, private))
    }
}

/// A connection to a TPM, with a session that is bound to its storage key.
pub(crate) struct Chip {
    pub(super) context: Context,
    storage: KeyHandle,
}

impl Chip {
    /// Connects, and starts a session whose secret only this TPM can know, so that nobody on the way reads along.
    pub(crate) fn connect(tcti: &str) -> Result<Self, String> {
        let tcti = TctiNameConf::from_str(tcti).map_err(failed)?;
        let mut context = Context::new(tcti).map_err(failed)?;
        let storage = storage_template().map_err(failed)?;
        let storage = context.execute_with_nullauth_session(|context| {
            context.create_primary(Hierarchy::Owner, storage, None, None, None, None)
        });
        let storage = storage.map_err(failed)?.key_handle;
        let mut chip = Self { context, storage };
        chip.start_session().map_err(failed)?;
        Ok(chip)
    }

    fn start_session(&mut self) -> Result<(), Failure> {
        let session = self.context.execute_without_session(|context| {
            context.start_auth_session(
                Some(self.storage),
                None,
                None,
                SessionType::Hmac,
                SymmetricDefinition::AES_128_CFB,
                HashingAlgorithm::Sha256,
            )
        })?;
        let (attributes, mask) = SessionAttributesBuilder::new()
            .with_decrypt(true)
            .with_encrypt(true)
            .build();
        if let Some(session) = session {
            self.context
                .tr_sess_set_attributes(session, attributes, mask)?;
        }
        self.context.set_sessions((session, None, None));
        Ok(())
    }

    /// Makes an ES256 key.
    pub(super) fn new_key(&mut self, auth: Option<&Secret>) -> Result<Blob, String> {
        let scheme = EccScheme::EcDsa(HashScheme::new(HashingAlgorithm::Sha256));
        let public =
            create_unrestricted_signing_ecc_public(scheme, EccCurve::NistP256).map_err(failed)?;
        let auth = auth.map(password).transpose()?;
        let made = self
            .context
            .create(self.storage, public, auth, None, None, None)
            .map_err(failed)?;
        Blob::of(&made.out_public, &made.out_private)
    }

    /// Seals bytes so that only this TPM gives them out again.
    #[expect(clippy::disallowed_methods, reason = "the TPM seals the secret")]
    pub(crate) fn seal(&mut self, secret: &Secret) -> Result<Blob, String> {
        let sensitive = SensitiveData::try_from(secret.open().to_vec()).map_err(failed)?;
        let template = sealed_template().map_err(failed)?;
        let context = &mut self.context;
        let made = context.create(self.storage, template, None, Some(sensitive), None, None);
        let made = made.map_err(failed)?;
        Blob::of(&made.out_public, &made.out_private)
    }

    /// Gives out what [`Chip::seal`] sealed.
    pub(crate) fn unseal(&mut self, blob: &Blob) -> Result<Secret, String> {
        let object = self.load(blob)?;
        let opened = self.context.unseal(object.into());
        self.flush(object);
        Ok(Secret::new(opened.map_err(failed)?.value().to_vec()))
    }

    /// Gives the room of a loaded object back. A TPM that is gone has none to give.
    pub(super) fn flush(&mut self, object: KeyHandle) {
        let flushed = |context: &mut Context| context.flush_context(object.into());
        self.context
            .execute_without_session(flushed)
            .unwrap_or_default();
    }

    /// Loads a key.
    pub(super) fn load(&mut self, blob: &Blob) -> Result<KeyHandle, String> {
        let (public, private) = blob.parts()?;
        self.context
            .load(self.storage, private, public)
            .map_err(failed)
    }

    /// The key under a persistent handle.
    pub(super) fn resident(&mut self, handle: u32) -> Result<KeyHandle, String> {
        let handle = PersistentTpmHandle::new(handle).map_err(failed)?;
        let found = self.context.execute_without_session(|context| {
            context.tr_from_tpm_public(TpmHandle::Persistent(handle))
        });
        Ok(found.map_err(failed)?.into())
    }
}

impl Drop for Chip {
    /// TPMs have room for few objects; those of a connection that is dropped are dropped too where a resource manager runs,
    /// and here where none does.
    fn drop(&mut self) {
        let (session, _, _) = self.context.sessions();
        self.context.clear_sessions();
        if let Some(session) = session {
            let flushed = self
                .context
                .flush_context(SessionHandle::from(session).into());
            flushed.unwrap_or_default();
        }
        self.flush(self.storage);
    }
}

/// The storage key: made anew from the TPM's own seed each time, and always the same (TCG EK Credential Profile, template
/// L-2 with the attributes of a storage key).
fn storage_template() -> Result<Public, Failure> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
        .with_decrypt(true)
        .with_restricted(true)
        .build()?;
    let parameters = PublicEccParametersBuilder::new()
        .with_ecc_scheme(EccScheme::Null)
        .with_curve(EccCurve::NistP256)
        .with_is_decryption_key(true)
        .with_is_signing_key(false)
        .with_restricted(true)
        .with_symmetric(SymmetricDefinitionObject::AES_128_CFB)
        .with_key_derivation_function_scheme(KeyDerivationFunctionScheme::Null)
        .build()?;
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(parameters)
        .with_ecc_unique_identifier(EccPoint::default())
        .build()
}

/// Bytes that are sealed: not a key, made outside, of use in this TPM alone.
fn sealed_template() -> Result<Public, Failure> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_user_with_auth(true)
        .with_no_da(true)
        .build()?;
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::KeyedHash)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_keyed_hash_parameters(PublicKeyedHashParameters::new(KeyedHashScheme::Null))
        .with_keyed_hash_unique_identifier(Digest::default())
        .build()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the TPM is given the key's password"
)]
pub(super) fn password(auth: &Secret) -> Result<Auth, String> {
    Auth::try_from(auth.open().to_vec())
        .map_err(|_cause| "has a password that is longer than a TPM takes".to_owned())
}

pub(super) fn failed(problem: Failure) -> String {
    format!("is in a TPM that failed: {problem}")
}
