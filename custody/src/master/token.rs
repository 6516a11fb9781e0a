//! The master key, wrapped by an AES key in a PKCS#11 token: the file it lies in opens with that token and its PIN alone.

use std::path::Path;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use cryptoki::{
    mechanism::{Mechanism, aead::GcmParams},
    object::{Attribute, AttributeType, ObjectClass, ObjectHandle},
    session::Session,
};
use exeat_types::{Secret, random_bytes};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{KEY_LEN, MasterKey, read};
use crate::{
    Devices, Error, file,
    signer::{
        Pkcs11Key,
        pkcs11::door::{Access, Door, only},
    },
};

const FORMAT: u32 = 1;
const NONCE_LEN: usize = 12;
const TAG_BITS: u64 = 128;
/// What the wrapping authenticates besides the key.
const PLACE: &[u8] = b"exeat master key";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Wrapped {
    format: u32,
    /// The fingerprint of the key.
    key: String,
    nonce: String,
    wrapped: String,
}

impl MasterKey {
    /// Has a token wrap the key, into a new file. The wrapping key is made in the token if it is not there.
    ///
    /// # Errors
    /// When the token refuses, its key could be copied, or the file exists or cannot be written.
    #[expect(clippy::disallowed_methods, reason = "the token wraps the key")]
    pub fn keep_in_token(
        &self,
        path: &Path,
        with: &Pkcs11Key,
        pin: Option<&Secret>,
        devices: &Devices,
    ) -> Result<(), Error> {
        let door = Door::new("master key", &with.token, pin, devices);
        let mut nonce = random_bytes::<NONCE_LEN>()?;
        let text = BASE64_STANDARD.encode(nonce);
        let session = door.enter(Access::Write)?;
        let wrapped = session.call(|session| {
            let key = match only(&door, session, ObjectClass::SECRET_KEY, &with.key) {
                Ok(key) => key,
                Err(_absent) => new_key(&door, session, &with.key)?,
            };
            stays(&door, session, key)?;
            let gcm = GcmParams::new(&mut nonce, PLACE, TAG_BITS.into());
            let gcm = Mechanism::AesGcm(gcm.map_err(|e| door.failed(&e))?);
            let wrapped = session.encrypt(&gcm, key, self.key.open());
            wrapped.map_err(|e| door.failed(&e))
        });
        let wrapped = Wrapped {
            format: FORMAT,
            key: self.fingerprint(),
            nonce: text,
            wrapped: BASE64_STANDARD.encode(wrapped.map_err(|e| door.failed(&e))??),
        };
        let text =
            serde_json::to_vec_pretty(&wrapped).map_err(|e| damaged(path, &e.to_string()))?;
        file::create(path, &text)
    }

    /// Has the token unwrap the file again.
    ///
    /// # Errors
    /// When the file is absent, open to others or damaged, or the token is not there, refuses the PIN, or has another key.
    pub fn from_token(
        path: &Path,
        with: &Pkcs11Key,
        pin: Option<&Secret>,
        devices: &Devices,
    ) -> Result<Self, Error> {
        let wrapped = read(path)?;
        let parsed: Wrapped =
            serde_json::from_slice(&wrapped).map_err(|e| damaged(path, &e.to_string()))?;
        if parsed.format != FORMAT {
            return Err(damaged(path, "expected format 1"));
        }
        let bytes = |text: &str| {
            let decoded = BASE64_STANDARD.decode(text);
            decoded.map_err(|e| damaged(path, &e.to_string()))
        };
        let (mut nonce, wrapped) = (bytes(&parsed.nonce)?, bytes(&parsed.wrapped)?);
        let door = Door::new("master key", &with.token, pin, devices);
        let session = door.enter(Access::Read)?;
        let key = session.call(|session| {
            let key = only(&door, session, ObjectClass::SECRET_KEY, &with.key)?;
            let gcm = GcmParams::new(&mut nonce, PLACE, TAG_BITS.into());
            let gcm = Mechanism::AesGcm(gcm.map_err(|e| door.failed(&e))?);
            let opened = session.decrypt(&gcm, key, &wrapped);
            opened.map(Zeroizing::new).map_err(|e| door.failed(&e))
        });
        let mut key = key.map_err(|e| door.failed(&e))??;
        Self::of_fingerprint(Secret::new(std::mem::take(&mut *key)), &parsed.key, path)
    }
}

/// An AES key that never leaves the token.
fn new_key(door: &Door, session: &Session, label: &str) -> Result<ObjectHandle, Error> {
    let length = u64::try_from(KEY_LEN).unwrap_or_default();
    let template = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::ValueLen(length.into()),
        Attribute::Label(label.into()),
    ];
    let made = session.generate_key(&Mechanism::AesKeyGen, &template);
    made.map_err(|e| door.failed(&e))
}

/// SECURITY: a wrapping key that can be copied protects nothing.
fn stays(door: &Door, session: &Session, key: ObjectHandle) -> Result<(), Error> {
    let asked = [AttributeType::Extractable, AttributeType::Sensitive];
    let found = session.get_attributes(key, &asked);
    let found = found.map_err(|e| door.failed(&e))?;
    let wanted = [Attribute::Extractable(false), Attribute::Sensitive(true)];
    if wanted.iter().all(|wanted| found.contains(wanted)) {
        return Ok(());
    }
    Err(door.refused("has a wrapping key that can be copied out of the device".to_owned()))
}

fn damaged(path: &Path, problem: &str) -> Error {
    Error::NotA {
        what: "master key that a token wrapped",
        path: path.to_owned(),
        problem: problem.to_owned(),
    }
}
