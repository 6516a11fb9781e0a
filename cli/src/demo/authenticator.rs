//! A virtual passkey for the tour: software, P-256, always says yes. It stands for a person's device, and lives for a minute.

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use exeat_types::Digest;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};

/// Present, verified.
const FLAGS: u8 = 1 | 4;
/// The same, and a new key comes along.
const FLAGS_NEW: u8 = FLAGS | 64;

/// The device.
pub(super) struct Authenticator {
    key: EcdsaKeyPair,
    id: [u8; 32],
}

impl Authenticator {
    /// Makes a key.
    pub(super) fn new() -> anyhow::Result<Self> {
        let random = SystemRandom::new();
        let scheme = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let failed = "the virtual passkey cannot be made";
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(scheme, &random)
            .ok()
            .context(failed)?;
        let key = EcdsaKeyPair::from_pkcs8(scheme, pkcs8.as_ref(), &random);
        let key = key.ok().context(failed)?;
        let id = *Digest::of(key.public_key().as_ref()).as_bytes();
        Ok(Self { key, id })
    }

    /// Answers a request for a new key, as a browser hands it over.
    pub(super) fn make(&self, options: &Value, origin: &str) -> anyhow::Result<Value> {
        let point = self.key.public_key().as_ref();
        let (x, y) = point
            .get(1..33)
            .zip(point.get(33..))
            .context("the point of a key")?;
        let cose = [&COSE_X[..], x, &COSE_Y, y].concat();
        let mut words = self.words(options.pointer("/rp/id"), FLAGS_NEW)?;
        words.extend_from_slice(&[0; 16]);
        words.extend_from_slice(&[0, 32]);
        words.extend_from_slice(&self.id);
        words.extend_from_slice(&cose);
        let length = u8::try_from(words.len()).context("the words of a passkey")?;
        let object = [&ATTESTATION[..], &[length], &words].concat();
        Ok(json!({
            "attestation": encoded(&object),
            "client_data": encoded(client_data("webauthn.create", options, origin)?.as_bytes()),
        }))
    }

    /// Answers a request for a signature.
    pub(super) fn sign(&self, options: &Value, origin: &str) -> anyhow::Result<Value> {
        let client = client_data("webauthn.get", options, origin)?;
        let words = self.words(options.get("rpId"), FLAGS)?;
        let message = [&words[..], Digest::of(client.as_bytes()).as_bytes()].concat();
        let signature = self.key.sign(&SystemRandom::new(), &message);
        let signature = signature
            .ok()
            .context("the virtual passkey does not sign")?;
        Ok(json!({
            "authenticator_data": encoded(&words),
            "client_data": encoded(client.as_bytes()),
            "key": encoded(&self.id),
            "signature": encoded(signature.as_ref()),
        }))
    }

    /// `authenticatorData` without a key. It does not count, as synchronised keys do not.
    fn words(&self, site: Option<&Value>, flags: u8) -> anyhow::Result<Vec<u8>> {
        let site = site.and_then(Value::as_str).context("no relying party")?;
        let hash = Digest::of(site.as_bytes());
        Ok([&hash.as_bytes()[..], &[flags], &[0; 4]].concat())
    }
}

/// A COSE key (RFC 9053) up to its first coordinate: EC2, ES256, P-256.
const COSE_X: [u8; 10] = [0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32];
/// Up to the second.
const COSE_Y: [u8; 3] = [0x22, 0x58, 32];
/// An attestation object in CBOR up to the length of its words: `{"fmt": "none", "attStmt": {}, "authData": h'`.
const ATTESTATION: [u8; 29] = *b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58";

fn client_data(kind: &str, options: &Value, origin: &str) -> anyhow::Result<String> {
    let challenge = options.get("challenge").context("no challenge")?;
    let client = json!({
        "type": kind,
        "challenge": challenge,
        "origin": origin,
        "crossOrigin": false,
    });
    Ok(client.to_string())
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
