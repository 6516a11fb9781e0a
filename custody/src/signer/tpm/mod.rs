//! Keys in a TPM 2.0 (TCG TPM 2.0 Library, Part 3): ES256 keys that the chip made and cannot give away.
//!
//! A key lies in a file of the data folder, encrypted by the TPM under its storage key, so it is of use with that one chip
//! alone; or in the chip, under a persistent handle. What goes to the TPM and comes back is bound to a session. `chip.rs` is the way there.

pub(crate) mod chip;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use exeat_types::{Algorithm, DeviceFailure, Secret, Signer};
use ring::digest::{SHA256, digest};
use tss_esapi::{
    constants::tss::{TPM2_RH_NULL, TPM2_ST_HASHCHECK},
    handles::KeyHandle,
    interface_types::ecc::EccCurve,
    structures::{Digest, Public, Signature, SignatureScheme},
    tss2_esys::TPMT_TK_HASHCHECK,
};

use super::{
    NewKey, Opening, SignerKind,
    device::{Connect, Connection, DeviceSigner},
    encoding::raw_of_numbers,
};
use crate::{Error, SecretRef};
use chip::{Blob, Chip, failed, password};

/// Where in the TPM a key lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a file of the data folder that only this TPM can open.
    File,
    /// In the TPM, under this persistent handle.
    Handle(u32),
}

/// A key of a TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmKey {
    /// How the TPM is reached, as the TSS calls it: `device:/dev/tpmrm0`.
    pub tcti: String,
    /// Where the key lies.
    pub place: Place,
    /// Where the key's own password lies, if it has one.
    pub auth: Option<SecretRef>,
}

impl SignerKind for TpmKey {
    fn word(&self) -> &'static str {
        "tpm"
    }

    fn secrets(&self) -> Vec<&SecretRef> {
        self.auth.iter().collect()
    }

    fn open(&self, with: &Opening<'_>) -> Result<Arc<dyn Signer>, Error> {
        let key = self.clone();
        let name = with.name.to_owned();
        let path = self.file(with);
        let auth = with.secrets.first().map(Secret::duplicate);
        let connect = move || -> Result<Box<dyn Connection>, Error> {
            let failed = |problem: String| Error::Signer {
                name: name.clone(),
                problem,
            };
            let connected = Held::connect(&key, &path, auth.as_ref());
            Ok(Box::new(connected.map_err(failed)?))
        };
        // A TPM does one thing at a time.
        let connect: Arc<Connect> = Arc::new(connect);
        Ok(Arc::new(DeviceSigner::open(with.name, 1, &connect)?))
    }

    fn create(&self, with: &Opening<'_>, algorithm: Algorithm) -> Result<NewKey, Error> {
        if algorithm != Algorithm::Es256 {
            return Err(with.failed(format!(
                "is in a TPM, which makes ES256 keys, not {}",
                algorithm.name()
            )));
        }
        if self.place != Place::File {
            return Err(with.failed("has a persistent handle; make that key with `tpm2_evictcontrol`, or leave `handle` out"));
        }
        let path = self.file(with);
        if path.exists() {
            return Err(with.failed(format!("has a key already, in `{}`", path.display())));
        }
        let made =
            Chip::connect(&self.tcti).and_then(|mut chip| chip.new_key(with.secrets.first()));
        let blob = made.map_err(|problem| with.failed(problem))?;
        if let Some(folder) = path.parent() {
            let unmade = |source| Error::File {
                action: "write",
                path: folder.to_owned(),
                source,
            };
            std::fs::create_dir_all(folder).map_err(unmade)?;
        }
        blob.write(&path)?;
        Ok(NewKey {
            signer: self.open(with)?,
            keep: None,
        })
    }
}

impl TpmKey {
    fn file(&self, with: &Opening<'_>) -> PathBuf {
        with.folder
            .join("signers")
            .join(format!("{}.tpm.json", with.name))
    }
}

/// A key, loaded.
struct Held {
    chip: Chip,
    key: KeyHandle,
    transient: bool,
    public_key: Vec<u8>,
}

impl Held {
    fn connect(from: &TpmKey, path: &Path, auth: Option<&Secret>) -> Result<Self, String> {
        let mut chip = Chip::connect(&from.tcti)?;
        let key = match from.place {
            Place::File => chip.load(&Blob::read(path)?)?,
            Place::Handle(handle) => chip.resident(handle)?,
        };
        let mut held = Self {
            chip,
            key,
            transient: from.place == Place::File,
            public_key: Vec::new(),
        };
        if let Some(auth) = auth {
            held.chip
                .context
                .tr_set_auth(key.into(), password(auth)?)
                .map_err(failed)?;
        }
        let public = held
            .chip
            .context
            .execute_without_session(|context| context.read_public(key));
        held.public_key = point(&public.map_err(failed)?.0)?;
        Ok(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.transient {
            self.chip.flush(self.key);
        }
    }
}

impl Connection for Held {
    fn public_key(&self) -> (Algorithm, &[u8]) {
        (Algorithm::Es256, &self.public_key)
    }

    fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, DeviceFailure> {
        let refused = |_told_when_opened| DeviceFailure("the TPM refused to sign");
        let unhashed = TPMT_TK_HASHCHECK {
            tag: TPM2_ST_HASHCHECK,
            hierarchy: TPM2_RH_NULL,
            digest: Default::default(),
        };
        let digest = Digest::try_from(digest(&SHA256, message).as_ref()).map_err(refused)?;
        let ticket = unhashed.try_into().map_err(refused)?;
        let signature = self
            .chip
            .context
            .sign(self.key, digest, SignatureScheme::Null, ticket)
            .map_err(refused)?;
        let Signature::EcDsa(signature) = signature else {
            return Err(DeviceFailure("the TPM signed in another way than asked"));
        };
        let raw = raw_of_numbers(
            signature.signature_r().value(),
            signature.signature_s().value(),
        );
        Ok(raw
            .ok_or(DeviceFailure(
                "the TPM signed with numbers that are too long",
            ))?
            .to_vec())
    }
}

/// The public key of an ES256 key that was made in the chip and cannot leave it.
fn point(public: &Public) -> Result<Vec<u8>, String> {
    let Public::Ecc {
        object_attributes: can,
        parameters,
        unique,
        ..
    } = public
    else {
        return Err("has a key of the TPM that is not on P-256".to_owned());
    };
    if parameters.ecc_curve() != EccCurve::NistP256 {
        return Err("has a key of the TPM that is not on P-256".to_owned());
    }
    // SECURITY: a key that could be duplicated, or was made elsewhere, is not a key that stays in its place.
    if !(can.fixed_tpm() && can.fixed_parent() && can.sensitive_data_origin()) {
        return Err("has a key that can leave the TPM, or came from outside".to_owned());
    }
    if !can.sign_encrypt() || can.restricted() {
        return Err("has a key of the TPM that may not sign what it is given".to_owned());
    }
    let both = raw_of_numbers(unique.x().value(), unique.y().value());
    let both = both.ok_or("has a key of the TPM that is not on P-256")?;
    Ok([&[4][..], &both].concat())
}
