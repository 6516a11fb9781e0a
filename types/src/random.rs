//! Random bytes from the operating system, for ids, nonces and keys.

use ring::rand::{SecureRandom as _, SystemRandom};

use crate::DeviceFailure;

/// Fills an array from the operating system's generator.
///
/// # Errors
/// When the generator fails; the caller refuses, it never falls back.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], DeviceFailure> {
    let mut out = [0u8; N];
    SystemRandom::new()
        .fill(&mut out)
        .map_err(|_cause| DeviceFailure("no random bytes to be had"))?;
    Ok(out)
}
