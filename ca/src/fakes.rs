//! What the tests of this crate hand in: a sealer that notices changes, and a moment.

use std::time::Duration;

use exeat_types::{DeviceFailure, Digest, Sealer, Secret, Timestamp};

use crate::Root;

/// Noon on a day in 2026.
pub(crate) const NOON: Timestamp = Timestamp::from_millis(1_790_000_000_000);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Hides the bytes under a one-byte key and proves key and place with a digest.
pub(crate) struct FakeSealer(pub(crate) u8);

impl FakeSealer {
    fn tag(&self, place: &str, hidden: &[u8]) -> Vec<u8> {
        let message = [&[self.0], place.as_bytes(), b"\0", hidden].concat();
        Digest::of(&message).as_bytes().to_vec()
    }
}

impl Sealer for FakeSealer {
    fn seal(&self, place: &str, plaintext: &[u8]) -> Result<Vec<u8>, DeviceFailure> {
        let hidden: Vec<u8> = plaintext.iter().map(|byte| byte ^ self.0).collect();
        Ok([self.tag(place, &hidden), hidden].concat())
    }

    fn open(&self, place: &str, sealed: &[u8]) -> Result<Secret, DeviceFailure> {
        let (tag, hidden) = sealed
            .split_at_checked(32)
            .ok_or(DeviceFailure("too short"))?;
        if tag != self.tag(place, hidden) {
            return Err(DeviceFailure("not sealed here"));
        }
        Ok(Secret::new(
            hidden.iter().map(|byte| byte ^ self.0).collect(),
        ))
    }
}

pub(crate) fn year_root() -> Root {
    Root::generate("Exeat test root", NOON, 365 * DAY).unwrap()
}
