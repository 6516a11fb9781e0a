//! Encrypts a message for one browser, in one record.
//!
//! # Spec
//! RFC 8291 section 3.4 (the keys), RFC 8188 section 2 (the record).

use ring::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral},
    hkdf::{HKDF_SHA256, KeyType, Salt},
    rand::SystemRandom,
};

use super::Subscription;

/// The record size that is declared; a push service need not take more (RFC 8291 section 4).
const RECORD: u32 = 4096;
/// What a message has at most: the record without its head, padding delimiter and tag.
const PAYLOAD_MAX: usize = 4096 - 86 - 1 - 16;
/// An uncompressed point.
const POINT: usize = 65;
/// Marks the last record.
const LAST: u8 = 2;

/// Both public keys, what they agree on, and what only the browser and we know besides.
struct Agreed<'a> {
    browser: &'a [u8],
    ours: &'a [u8],
    secret: &'a [u8],
    auth: &'a [u8],
}

/// The body of a message with this content, with a key that is used once.
pub(super) fn sealed(to: &Subscription, payload: &[u8], salt: &[u8; 16]) -> Option<Vec<u8>> {
    let random = SystemRandom::new();
    let private = EphemeralPrivateKey::generate(&ECDH_P256, &random).ok()?;
    let public = private.compute_public_key().ok()?;
    let browser = UnparsedPublicKey::new(&ECDH_P256, to.key());
    let body = agree_ephemeral(private, &browser, |secret| {
        let agreed = Agreed {
            browser: to.key(),
            ours: public.as_ref(),
            secret,
            auth: to.auth(),
        };
        record(&agreed, payload, salt)
    });
    body.ok()?
}

fn record(agreed: &Agreed<'_>, payload: &[u8], salt: &[u8; 16]) -> Option<Vec<u8>> {
    if payload.len() > PAYLOAD_MAX {
        return None;
    }
    let info: [&[u8]; 3] = [b"WebPush: info\0", agreed.browser, agreed.ours];
    let mut material = [0; 32];
    expand(agreed.auth, agreed.secret, &info, &mut material)?;
    let (mut key, mut nonce) = ([0; 16], [0; 12]);
    let for_key: [&[u8]; 1] = [b"Content-Encoding: aes128gcm\0"];
    let for_nonce: [&[u8]; 1] = [b"Content-Encoding: nonce\0"];
    expand(salt, &material, &for_key, &mut key)?;
    expand(salt, &material, &for_nonce, &mut nonce)?;

    let mut text = payload.to_vec();
    text.push(LAST);
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).ok()?);
    let nonce = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce, Aad::empty(), &mut text)
        .ok()?;

    let length = u8::try_from(agreed.ours.len()).ok()?;
    let mut body = Vec::with_capacity(21 + POINT + text.len());
    body.extend_from_slice(salt);
    body.extend_from_slice(&RECORD.to_be_bytes());
    body.push(length);
    body.extend_from_slice(agreed.ours);
    body.extend_from_slice(&text);
    Some(body)
}

/// HKDF with SHA-256 (RFC 5869), both steps.
fn expand(salt: &[u8], material: &[u8], info: &[&[u8]], out: &mut [u8]) -> Option<()> {
    let extracted = Salt::new(HKDF_SHA256, salt).extract(material);
    let expanded = extracted.expand(info, Length(out.len())).ok()?;
    expanded.fill(out).ok()
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    /// RFC 8291 section 5 and appendix A.
    #[test]
    fn the_example_of_the_specification_comes_out_byte_for_byte() {
        let agreed = Agreed {
            browser: &bytes(
                "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
            ),
            ours: &bytes(
                "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8",
            ),
            secret: &bytes("kyrL1jIIOHEzg3sM2ZWRHDRB62YACZhhSlknJ672kSs"),
            auth: &bytes("BTBZMqHH6r4Tts7J_aSIgg"),
        };
        let salt = bytes("DGv6ra1nlYgDCS1FRnbzlw").try_into().unwrap();
        let made = record(&agreed, b"When I grow up, I want to be a watermelon", &salt);
        let expected = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27ml\
            mlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPT\
            pK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN";
        assert_eq!(URL_SAFE_NO_PAD.encode(made.unwrap()), expected);
    }

    #[test]
    fn what_does_not_fit_one_record_is_not_sent() {
        let point = [4; POINT];
        let agreed = Agreed {
            browser: &point,
            ours: &point,
            secret: &[1; 32],
            auth: &[2; 16],
        };
        let whole = record(&agreed, &[b'x'; PAYLOAD_MAX], &[0; 16]).unwrap();
        assert_eq!(whole.len(), 4096);
        assert!(record(&agreed, &[b'x'; PAYLOAD_MAX + 1], &[0; 16]).is_none());
    }
}
