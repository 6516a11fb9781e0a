//! What an authenticator says of itself when it signs: `authenticatorData` (`WebAuthn` Level 3, 6.1).

use exeat_types::Digest;

use super::{Relying, cbor, key::PublicKey, wrong};
use crate::Error;

const USER_PRESENT: u8 = 1;
const USER_VERIFIED: u8 = 1 << 2;
const BACKUP_ELIGIBLE: u8 = 1 << 3;
const BACKED_UP: u8 = 1 << 4;
const HAS_KEY: u8 = 1 << 6;
const HAS_EXTENSIONS: u8 = 1 << 7;

/// The longest id of a key that `WebAuthn` allows.
const ID_BYTES_MAX: usize = 1023;

/// What was said, checked: it is of our keys, somebody was there, and it was the key's owner.
pub(super) struct Said {
    pub(super) sign_count: u32,
    pub(super) backed_up: bool,
    /// A new key, with its id.
    pub(super) key: Option<(Vec<u8>, PublicKey)>,
}

/// Reads and checks it.
pub(super) fn read(bytes: &[u8], relying: &Relying) -> Result<Said, Error> {
    let mut rest = bytes;
    let hash = take(&mut rest, 32)?;
    let flags = *take(&mut rest, 1)?.first().unwrap_or(&0);
    let count = take(&mut rest, 4)?.try_into().unwrap_or_default();
    if hash != Digest::of(relying.rp_id.as_bytes()).as_bytes() {
        return Err(wrong("it is a key of another site"));
    }
    if flags & USER_PRESENT == 0 {
        return Err(wrong("nobody was present"));
    }
    if flags & USER_VERIFIED == 0 {
        return Err(wrong("the user was not verified"));
    }
    if flags & (BACKED_UP | BACKUP_ELIGIBLE) == BACKED_UP {
        return Err(wrong("the flags of a backup contradict each other"));
    }
    let key = if flags & HAS_KEY == 0 {
        None
    } else {
        Some(new_key(&mut rest)?)
    };
    if flags & HAS_EXTENSIONS != 0 {
        cbor::map(&mut rest)?;
    }
    if !rest.is_empty() {
        return Err(wrong("something stands behind the authenticator's words"));
    }
    Ok(Said {
        sign_count: u32::from_be_bytes(count),
        backed_up: flags & BACKED_UP != 0,
        key,
    })
}

fn new_key(rest: &mut &[u8]) -> Result<(Vec<u8>, PublicKey), Error> {
    const MODEL_BYTES: usize = 16;
    take(rest, MODEL_BYTES)?;
    let length = take(rest, 2)?.try_into().map(u16::from_be_bytes);
    let length = usize::from(length.unwrap_or_default());
    if length == 0 || length > ID_BYTES_MAX {
        return Err(wrong("the id of the key is too short or too long"));
    }
    let id = take(rest, length)?.to_vec();
    Ok((id, PublicKey::take(rest)?))
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], Error> {
    let (taken, left) = rest
        .split_at_checked(count)
        .ok_or_else(|| wrong("the authenticator's words are cut off"))?;
    *rest = left;
    Ok(taken)
}
