//! C2SP signed notes and tree heads: the text a checkpoint carries, its signature, and the key that checks it.
//!
//! A note is `origin\nsize\nroot\ntime\n\n` and signature lines; the time is an extension line of ours. Checking takes the key from the caller, never from the note.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use exeat_types::{Algorithm, Digest, Malformed, Signer};
use ring::signature::{ED25519, UnparsedPublicKey};

use crate::Error;

/// The first bytes of a signature line: an em dash and a space.
const DASH: &str = "\u{2014} ";
const ED25519_KIND: u8 = 1;

/// The size and root of a log at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Which log.
    pub origin: String,
    /// How many records it had.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Digest,
    /// When it was signed, RFC 3339.
    pub time: String,
}

impl Head {
    /// The text that is signed.
    pub fn text(&self) -> String {
        let root = STANDARD.encode(self.root.as_bytes());
        format!("{}\n{}\n{root}\n{}\n", self.origin, self.size, self.time)
    }

    /// Signs the head as a note.
    ///
    /// # Errors
    /// When the device does not sign.
    pub fn sign(&self, signer: &dyn Signer, key: &NoteKey) -> Result<String, Error> {
        let text = self.text();
        let signature = signer
            .sign(text.as_bytes())
            .map_err(Error::device("sign a checkpoint"))?;
        let mut blob = key.hash.to_vec();
        blob.extend_from_slice(&signature);
        Ok(format!(
            "{text}\n{DASH}{} {}\n",
            key.name,
            STANDARD.encode(blob)
        ))
    }

    /// Reads the head of a note without checking who signed it.
    ///
    /// # Errors
    /// When the note is not of that form.
    pub fn parse(note: &str) -> Result<Self, Malformed> {
        let wrong = |problem: &str| Malformed::new("checkpoint", problem);
        let (text, _) = note
            .rsplit_once("\n\n")
            .ok_or_else(|| wrong("expected a blank line"))?;
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root), Some(time), None) = (
            lines.next(),
            lines.next(),
            lines.next(),
            lines.next(),
            lines.next(),
        ) else {
            return Err(wrong("expected four lines"));
        };
        if origin.is_empty() || time.is_empty() {
            return Err(wrong("expected an origin and a time"));
        }
        let size = crate::json::amount::parse(size).ok_or_else(|| wrong("expected a size"))?;
        let root = STANDARD
            .decode(root)
            .map_err(|_cause| wrong("expected a root in base64"))?;
        let root: [u8; 32] = root
            .try_into()
            .map_err(|_cause| wrong("expected a root of 32 bytes"))?;
        let (origin, time) = (origin.to_owned(), time.to_owned());
        Ok(Self {
            origin,
            size,
            root: Digest::from_bytes(root),
            time,
        })
    }

    /// Reads a note and checks its signature. Lines of other keys are passed over.
    ///
    /// # Errors
    /// When it is malformed, or this key did not sign it.
    pub fn open(note: &str, key: &NoteKey) -> Result<Self, Malformed> {
        let wrong = |problem: &str| Malformed::new("checkpoint", problem);
        let head = Self::parse(note)?;
        let (_, signatures) = note
            .rsplit_once("\n\n")
            .ok_or_else(|| wrong("expected a blank line"))?;
        let signatures = signatures
            .strip_suffix('\n')
            .ok_or_else(|| wrong("expected a line end"))?;
        let mut signed = false;
        for line in signatures.split('\n') {
            let body = line
                .strip_prefix(DASH)
                .ok_or_else(|| wrong("expected a signature line"))?;
            let (name, blob) = body
                .split_once(' ')
                .ok_or_else(|| wrong("expected a name and a signature"))?;
            let blob = STANDARD
                .decode(blob)
                .map_err(|_cause| wrong("expected base64"))?;
            let (hash, signature) = blob
                .split_at_checked(4)
                .ok_or_else(|| wrong("signature too short"))?;
            if name != key.name || hash != key.hash {
                continue;
            }
            UnparsedPublicKey::new(&ED25519, &key.public)
                .verify(head.text().as_bytes(), signature)
                .map_err(|_cause| wrong("the signature is wrong"))?;
            signed = true;
        }
        if signed {
            Ok(head)
        } else {
            Err(wrong("not signed by the expected key"))
        }
    }
}

/// A public key with the name it signs notes under; printed as `name+hash+base64` (C2SP signed-note, `vkey`).
#[derive(Clone, PartialEq, Eq)]
pub struct NoteKey {
    name: String,
    hash: [u8; 4],
    public: [u8; 32],
}

impl NoteKey {
    /// The key of a signer, under the log's name, which is derived from the key itself.
    ///
    /// # Errors
    /// When the signer is not Ed25519.
    pub fn of(signer: &dyn Signer) -> Result<Self, Error> {
        let public: [u8; 32] = match signer.algorithm() {
            Algorithm::EdDsa => signer
                .public_key()
                .try_into()
                .map_err(|_cause| Error::WrongKey)?,
            Algorithm::Es256 | Algorithm::Rs256 => return Err(Error::WrongKey),
        };
        let id = Digest::of(&public).hex();
        let short = id.get(..16).unwrap_or_default();
        Ok(Self::new(format!("exeat.local/journal/{short}"), public))
    }

    fn new(name: String, public: [u8; 32]) -> Self {
        let mut text = name.clone().into_bytes();
        text.extend_from_slice(&[b'\n', ED25519_KIND]);
        text.extend_from_slice(&public);
        let digest = Digest::of(&text);
        let mut hash = [0u8; 4];
        for (to, from) in hash.iter_mut().zip(digest.as_bytes()) {
            *to = *from;
        }
        Self { name, hash, public }
    }

    /// The name of the key, which is the origin of its log.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut blob = vec![ED25519_KIND];
        blob.extend_from_slice(&self.public);
        let hash = u32::from_be_bytes(self.hash);
        write!(f, "{}+{hash:08x}+{}", self.name, STANDARD.encode(blob))
    }
}

impl fmt::Debug for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NoteKey {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let wrong = |problem: &str| Malformed::new("receipt key", problem);
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(hash), Some(blob)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong("expected `name+hash+key`"));
        };
        let blob = STANDARD
            .decode(blob)
            .map_err(|_cause| wrong("expected base64"))?;
        let Some((&ED25519_KIND, public)) = blob.split_first() else {
            return Err(wrong("expected an Ed25519 key"));
        };
        let public = public
            .try_into()
            .map_err(|_cause| wrong("expected 32 bytes"))?;
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(wrong("expected a name without spaces"));
        }
        let key = Self::new(name.to_owned(), public);
        if format!("{:08x}", u32::from_be_bytes(key.hash)) != hash {
            return Err(wrong("the hash does not belong to the key"));
        }
        Ok(key)
    }
}
