//! A key in the Transit engine of a HashiCorp Vault server. A key that may be exported is refused.

use std::{collections::BTreeMap, sync::Arc};

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use exeat_types::{Algorithm, DeviceFailure, Origin, Signer};
use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::{
    Service, UNKNOWN_FORM, UNKNOWN_KEY, base64, from_pem, open, outside, secret, unopened,
};
use crate::{
    Error, SecretRef,
    hashicorp::{Denied, VaultClient, VaultServer},
    signer::{Opening, SignerKind},
};

/// A key in the Transit engine.
#[derive(Debug, Clone)]
pub struct TransitKey {
    /// The server.
    pub server: VaultServer,
    /// Where the engine is mounted, such as `transit`.
    pub mount: String,
    /// The name of the key.
    pub key: String,
}

impl SignerKind for TransitKey {
    fn word(&self) -> &'static str {
        "vault-transit"
    }

    fn secrets(&self) -> Vec<&SecretRef> {
        vec![self.server.secret()]
    }

    fn origins(&self) -> Vec<&Origin> {
        vec![self.server.origin()]
    }

    fn open(&self, with: &Opening<'_>) -> Result<Arc<dyn Signer>, Error> {
        let login = secret(with, 0)?.duplicate();
        let clock = Arc::clone(with.clock);
        let mut transit = Transit {
            kind: self.clone(),
            client: self.server.client(login, outside(with)?, clock),
            version: 0,
        };
        let newest = transit.newest();
        transit.version = newest.map_err(|problem| unopened(with, problem))?;
        open(with, transit)
    }
}

struct Transit {
    kind: TransitKey,
    client: VaultClient,
    /// The version that signs: the newest one when the signer was opened, as its public key is the one that is known.
    version: u32,
}

#[derive(Deserialize)]
struct Key {
    r#type: String,
    latest_version: u32,
    exportable: bool,
    allow_plaintext_backup: bool,
    keys: BTreeMap<String, Version>,
}

#[derive(Deserialize)]
struct Version {
    public_key: String,
}

#[derive(Deserialize)]
struct Signed {
    signature: String,
}

impl Transit {
    fn key(&self) -> Result<Key, DeviceFailure> {
        let target = format!("{}/keys/{}", self.kind.mount, self.kind.key);
        self.client
            .ask(&Method::GET, &target, None)
            .map_err(failure)
    }

    fn newest(&self) -> Result<u32, DeviceFailure> {
        Ok(self.key()?.latest_version)
    }
}

const fn failure(denied: Denied) -> DeviceFailure {
    match denied {
        Denied::Silent => DeviceFailure("the key service does not answer"),
        Denied::Refused => DeviceFailure("the key service refuses to sign"),
        Denied::Absent => UNKNOWN_KEY,
        Denied::Failed => DeviceFailure("the key service fails"),
        Denied::UnknownForm => UNKNOWN_FORM,
    }
}

impl Service for Transit {
    fn public(&self) -> Result<(Algorithm, Vec<u8>), DeviceFailure> {
        let mut key = self.key()?;
        if key.exportable || key.allow_plaintext_backup {
            return Err(DeviceFailure("the key service may hand its key out"));
        }
        let version = key.keys.remove(&self.version.to_string());
        let public = version.ok_or(UNKNOWN_FORM)?.public_key;
        match key.r#type.as_str() {
            "ed25519" => Ok((Algorithm::EdDsa, base64(&public)?)),
            "ecdsa-p256" | "rsa-2048" | "rsa-3072" | "rsa-4096" => from_pem(&public),
            _ => Err(UNKNOWN_KEY),
        }
    }

    fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, DeviceFailure> {
        let mut asked = json!({
            "input": BASE64_STANDARD.encode(message),
            "key_version": self.version,
        });
        let more = match algorithm {
            Algorithm::Es256 => {
                json!({ "hash_algorithm": "sha2-256", "marshaling_algorithm": "jws" })
            }
            Algorithm::Rs256 => {
                json!({ "hash_algorithm": "sha2-256", "signature_algorithm": "pkcs1v15" })
            }
            Algorithm::EdDsa => json!({}),
        };
        if let (Some(asked), Some(more)) = (asked.as_object_mut(), more.as_object()) {
            asked.extend(more.clone());
        }
        let target = format!("{}/sign/{}", self.kind.mount, self.kind.key);
        let signed: Signed = self
            .client
            .ask(&Method::POST, &target, Some(&asked))
            .map_err(failure)?;
        let mark = format!("vault:v{}:", self.version);
        let text = signed.signature.strip_prefix(&mark).ok_or(UNKNOWN_FORM)?;
        match algorithm {
            // RFC 7518 section 3.4: the `jws` marshalling.
            Algorithm::Es256 => BASE64_URL_SAFE_NO_PAD
                .decode(text)
                .map_err(|_cause| UNKNOWN_FORM),
            Algorithm::EdDsa | Algorithm::Rs256 => base64(text),
        }
    }
}
