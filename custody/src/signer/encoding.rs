//! The forms in which keys and signatures travel: DER of public and private keys, raw and DER signatures, PEM and OpenSSH.
//!
//! Reads just the three kinds of key that sign here. What is not exactly one of them is refused, never guessed.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use exeat_types::{Algorithm, Signer};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;

/// The content of an `AlgorithmIdentifier` (RFC 5280): id-ecPublicKey on prime256v1 (RFC 5480).
const EC_P256: &[u8] = &[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
    0x03, 0x01, 0x07,
];
/// The same for id-Ed25519 (RFC 8410).
const ED25519_ID: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
/// The same for rsaEncryption (RFC 3279).
const RSA: &[u8] = &[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];
/// The DER of prime256v1's name, as devices call the curve.
#[cfg(feature = "pkcs11")]
pub(crate) const P256_NAME: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// What stands before a SHA-256 digest in a PKCS#1 v1.5 signature (RFC 8017 section 9.2, note 1).
#[cfg(feature = "pkcs11")]
pub(crate) const SHA256_DIGEST_INFO: &[u8] = &[
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

/// The algorithm and the key of a `SubjectPublicKeyInfo` (RFC 5280), the key in the form [`Algorithm`] names.
pub fn public_key(spki: &[u8]) -> Option<(Algorithm, Vec<u8>)> {
    let (whole, []) = element(spki, SEQUENCE)? else {
        return None;
    };
    let (algorithm, rest) = element(whole, SEQUENCE)?;
    let (bits, []) = element(rest, BIT_STRING)? else {
        return None;
    };
    let (0, key) = bits.split_first()? else {
        return None;
    };
    Some((algorithm_named(algorithm)?, key.to_vec()))
}

/// The `SubjectPublicKeyInfo` of a signer's key, DER.
pub fn spki(signer: &dyn Signer) -> Vec<u8> {
    let algorithm = match signer.algorithm() {
        Algorithm::EdDsa => ED25519_ID,
        Algorithm::Es256 => EC_P256,
        Algorithm::Rs256 => RSA,
    };
    let bits = wrapped(BIT_STRING, &[&[0], signer.public_key()]);
    wrapped(SEQUENCE, &[&wrapped(SEQUENCE, &[algorithm]), &bits])
}

/// The public key of a signer as PEM.
pub fn public_pem(signer: &dyn Signer) -> String {
    let text = BASE64_STANDARD.encode(spki(signer));
    let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
    for (place, letter) in text.chars().enumerate() {
        if place > 0 && place.is_multiple_of(64) {
            pem.push('\n');
        }
        pem.push(letter);
    }
    pem.push_str("\n-----END PUBLIC KEY-----");
    pem
}

/// The public key of a signer as one line of OpenSSH (RFC 4253 section 6.6, RFC 5656, RFC 8709), without a comment.
///
/// Empty when the key is not of the form it should have.
pub fn public_ssh(signer: &dyn Signer) -> String {
    let key = signer.public_key();
    let (name, blob) = match signer.algorithm() {
        Algorithm::EdDsa => ("ssh-ed25519", lengthened(&[b"ssh-ed25519", key])),
        Algorithm::Es256 => (
            "ecdsa-sha2-nistp256",
            lengthened(&[b"ecdsa-sha2-nistp256", b"nistp256", key]),
        ),
        Algorithm::Rs256 => match rsa_numbers(key) {
            Some((modulus, exponent)) => (
                "ssh-rsa",
                lengthened(&[b"ssh-rsa", &signed(exponent), &signed(modulus)]),
            ),
            None => return String::new(),
        },
    };
    format!("{name} {}", BASE64_STANDARD.encode(blob))
}

/// Modulus and exponent of an `RSAPublicKey` (RFC 8017), without leading zeros.
pub fn rsa_numbers(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (numbers, []) = element(key, SEQUENCE)? else {
        return None;
    };
    let (modulus, rest) = element(numbers, INTEGER)?;
    let (exponent, []) = element(rest, INTEGER)? else {
        return None;
    };
    Some((stripped(modulus), stripped(exponent)))
}

/// The `RSAPublicKey` of a modulus and an exponent.
#[cfg(feature = "pkcs11")]
pub(crate) fn rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let number = |number| wrapped(INTEGER, &[&signed(number)]);
    wrapped(SEQUENCE, &[&number(modulus), &number(exponent)])
}

/// The 64 bytes `r || s` of an ECDSA signature on P-256 in DER (RFC 3279 section 2.2.3).
pub fn raw_of_der(signature: &[u8]) -> Option<[u8; 64]> {
    let (numbers, []) = element(signature, SEQUENCE)? else {
        return None;
    };
    let (r, rest) = element(numbers, INTEGER)?;
    let (s, []) = element(rest, INTEGER)? else {
        return None;
    };
    raw_of_numbers(r, s)
}

/// `r || s`, each with 32 bytes.
pub(crate) fn raw_of_numbers(r: &[u8], s: &[u8]) -> Option<[u8; 64]> {
    let mut raw = [0u8; 64];
    let (left, right) = raw.split_at_mut_checked(32)?;
    for (number, room) in [(r, left), (s, right)] {
        let number = stripped(number);
        let skip = room.len().checked_sub(number.len())?;
        room.get_mut(skip..)?.copy_from_slice(number);
    }
    Some(raw)
}

/// Whether a signature is that of this key over this message.
pub fn verifies(algorithm: Algorithm, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let verified = match algorithm {
        Algorithm::EdDsa => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
        Algorithm::Es256 => {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(message, signature)
        }
        Algorithm::Rs256 => {
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key).verify(message, signature)
        }
    };
    verified.is_ok()
}

/// A private key, in the form in which it came.
pub(crate) enum PrivateKey {
    /// `PrivateKeyInfo` (RFC 5208), and what is in it.
    Pkcs8(Algorithm, Vec<u8>),
    /// `RSAPrivateKey` (RFC 8017).
    Pkcs1(Vec<u8>),
}

/// Reads a private key in DER: PKCS#8, PKCS#1 or SEC1 on P-256.
pub(crate) fn private_key(der: &[u8]) -> Option<PrivateKey> {
    let (whole, []) = element(der, SEQUENCE)? else {
        return None;
    };
    let (version, rest) = element(whole, INTEGER)?;
    if let Some((algorithm, _key)) = element(rest, SEQUENCE) {
        return Some(PrivateKey::Pkcs8(algorithm_named(algorithm)?, der.to_vec()));
    }
    if element(rest, OCTET_STRING).is_some() {
        let inner = wrapped(OCTET_STRING, &[der]);
        let parts: [&[u8]; 3] = [&[INTEGER, 1, 0], &wrapped(SEQUENCE, &[EC_P256]), &inner];
        return Some(PrivateKey::Pkcs8(
            Algorithm::Es256,
            wrapped(SEQUENCE, &parts),
        ));
    }
    (version == [0] && element(rest, INTEGER).is_some()).then(|| PrivateKey::Pkcs1(der.to_vec()))
}

fn algorithm_named(id: &[u8]) -> Option<Algorithm> {
    match id {
        EC_P256 => Some(Algorithm::Es256),
        ED25519_ID => Some(Algorithm::EdDsa),
        RSA => Some(Algorithm::Rs256),
        _ => None,
    }
}

/// The content of the element that begins here, if it has this tag, and what follows it.
pub(crate) fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    if *found != tag {
        return None;
    }
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 => {
            let (length, rest) = rest.split_first()?;
            (usize::from(*length), rest)
        }
        0x82 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// An element with this tag around these parts.
fn wrapped(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut element = vec![tag];
    match u16::try_from(content.len())
        .unwrap_or(u16::MAX)
        .to_be_bytes()
    {
        [0, short @ 0..=0x7f] => element.push(short),
        [0, one] => element.extend([0x81, one]),
        [one, two] => element.extend([0x82, one, two]),
    }
    element.extend(content);
    element
}

/// A number without leading zeros.
fn stripped(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// A positive number as a signed one.
fn signed(number: &[u8]) -> Vec<u8> {
    let number = stripped(number);
    let negative = number.first().is_none_or(|first| *first >= 0x80);
    [if negative { &[0][..] } else { &[] }, number].concat()
}

/// Strings of RFC 4251 section 5: each after its length.
fn lengthened(parts: &[&[u8]]) -> Vec<u8> {
    let with_length = |part: &&[u8]| {
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        [&length.to_be_bytes()[..], part].concat()
    };
    parts.iter().map(with_length).collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_der_signature_are_padded_to_32_bytes() {
        let der = [SEQUENCE, 9, INTEGER, 2, 0, 0x80, INTEGER, 3, 1, 2, 3];
        let mut raw = [0u8; 64];
        raw[31] = 0x80;
        raw[61..].copy_from_slice(&[1, 2, 3]);
        assert_eq!(raw_of_der(&der), Some(raw));
        let longer = wrapped(
            SEQUENCE,
            &[&wrapped(INTEGER, &[&[1; 33]]), &[INTEGER, 1, 1]],
        );
        for wrong in [
            &der[..10],
            &[&der[..], &[0]].concat(),
            &longer,
            b"",
            &[SEQUENCE, 0x80],
        ] {
            assert_eq!(raw_of_der(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn lengths_are_read_as_they_are_written() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff] {
            let content = vec![7; length];
            let made = [wrapped(SEQUENCE, &[&content]), vec![1]].concat();
            assert_eq!(
                element(&made, SEQUENCE),
                Some((&content[..], &[1][..])),
                "{length}"
            );
            assert_eq!(element(&made, INTEGER), None);
        }
        assert_eq!(element(&[SEQUENCE, 0x83, 0, 0, 1, 0], SEQUENCE), None);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for wrong in [
            &b""[..],
            b"0",
            &[SEQUENCE, 0],
            &[SEQUENCE, 3, INTEGER, 1, 1],
            &[SEQUENCE, 2, SEQUENCE, 0],
        ] {
            assert!(private_key(wrong).is_none(), "{wrong:?}");
            assert!(public_key(wrong).is_none(), "{wrong:?}");
        }
    }
}
