//! Public keys as authenticators give them: COSE keys (RFC 9052, RFC 9053) of three kinds.

use std::fmt;

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};

use super::{
    cbor::{self, Map},
    decode, encode, wrong,
};
use crate::Error;

/// The COSE algorithms that count, best first: ES256, `EdDSA` with Ed25519, RS256.
pub const ALGORITHMS: [i64; 3] = [ES256, EDDSA, RS256];

const ES256: i64 = -7;
const EDDSA: i64 = -8;
const RS256: i64 = -257;

/// An RSA key of 8,192 bits with room to spare.
const COSE_BYTES_MAX: usize = 2048;

/// The public key of a passkey.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// As it was given: what records hold.
    cose: Vec<u8>,
    kind: Kind,
}

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    /// A point on P-256, uncompressed.
    Es256([u8; 65]),
    Ed25519([u8; 32]),
    Rs256 {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
}

impl PublicKey {
    /// Takes a COSE key.
    ///
    /// # Errors
    /// When it is of no kind that counts, or there is something behind it.
    pub fn from_cose(cose: &[u8]) -> Result<Self, Error> {
        let mut rest = cose;
        let key = Self::take(&mut rest)?;
        if rest.is_empty() {
            Ok(key)
        } else {
            Err(wrong("something stands behind the public key"))
        }
    }

    /// Reads the text form of records.
    ///
    /// # Errors
    /// When it is not the base64url of such a key.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::from_cose(&decode(text, COSE_BYTES_MAX, "not a public key")?)
    }

    /// Takes a COSE key off the front of some bytes.
    pub(super) fn take(bytes: &mut &[u8]) -> Result<Self, Error> {
        let before = *bytes;
        let map = cbor::map(bytes)?;
        let used = before.len().saturating_sub(bytes.len());
        let cose = before.get(..used).unwrap_or_default().to_vec();
        if cose.len() > COSE_BYTES_MAX {
            return Err(wrong("the public key is too long"));
        }
        let kind = Kind::read(&map).ok_or_else(|| wrong("a public key of no kind that counts"))?;
        Ok(Self { cose, kind })
    }

    /// Whether it signed a message.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let verdict = match &self.kind {
            Kind::Es256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature)
            }
            Kind::Ed25519(point) => {
                UnparsedPublicKey::new(&ED25519, point).verify(message, signature)
            }
            Kind::Rs256 { modulus, exponent } => RsaPublicKeyComponents {
                n: modulus,
                e: exponent,
            }
            .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature),
        };
        verdict.is_ok()
    }

    /// The COSE key.
    pub fn cose(&self) -> &[u8] {
        &self.cose
    }

    /// Twenty digits by which people tell on two screens that a key is the same. They are eighty bits: nobody finds
    /// another key that has them.
    pub fn fingerprint(&self) -> String {
        let digest = exeat_types::Digest::of(&self.cose);
        let groups = digest.as_bytes().chunks(2).take(5);
        let groups: Vec<String> = groups
            .map(|pair| pair.iter().map(|byte| format!("{byte:02x}")).collect())
            .collect();
        groups.join("-")
    }
}

impl Kind {
    fn read(map: &Map) -> Option<Self> {
        const KEY_TYPE: i64 = 1;
        const ALGORITHM: i64 = 3;
        match (map.number(KEY_TYPE)?, map.number(ALGORITHM)?) {
            (2, ES256) if map.number(-1) == Some(1) => {
                let (x, y) = (map.bytes(-2)?, map.bytes(-3)?);
                if x.len() != 32 || y.len() != 32 {
                    return None;
                }
                let point: Vec<u8> = [&[4u8][..], x, y].concat();
                Some(Self::Es256(point.try_into().ok()?))
            }
            (1, EDDSA) if map.number(-1) == Some(6) => {
                Some(Self::Ed25519(map.bytes(-2)?.try_into().ok()?))
            }
            (3, RS256) => Some(Self::Rs256 {
                modulus: map.bytes(-1)?.to_vec(),
                exponent: map.bytes(-2)?.to_vec(),
            }),
            _ => None,
        }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(&self.cose))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
