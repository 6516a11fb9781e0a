//! One-time codes for the console, and the passkeys that are enrolled. Taking one in or away is the console's.

use std::sync::Arc;

use exeat_console::{Codes, Notifier, PublicOrigin};
use exeat_ledger::Ledger;
use exeat_types::Timestamp;

use crate::socket::{Device, Enrolling, Failure};

/// The console as commands need it.
pub(crate) struct Door {
    /// Where it is.
    pub(crate) origin: PublicOrigin,
    /// The port that it is bound to.
    pub(crate) port: u16,
    /// Codes that it takes.
    pub(crate) codes: Arc<Codes>,
    /// What tells people that a question waits.
    pub(crate) notifier: Arc<Notifier>,
}

impl Door {
    /// Makes a code.
    pub(super) fn enroll(
        &self,
        ledger: &Ledger,
        user: &str,
        now: Timestamp,
    ) -> Result<Enrolling, Failure> {
        let user = exeat_console::user_name(user)
            .ok_or_else(|| Failure::new("the name of a person has 1 to 64 visible letters"))?;
        let issued = self.codes.issue(user, now).map_err(anyhow::Error::new)?;
        Ok(Enrolling {
            url: self.origin.url(&format!("/enroll?code={}", issued.code)),
            code: issued.code,
            until: issued.until,
            is_first: ledger.passkeys().never_any(),
        })
    }

    /// Every passkey.
    pub(super) fn devices(&self, ledger: &Ledger) -> Vec<Device> {
        let keys = ledger.passkeys();
        let device = |(id, key): (&str, &exeat_ledger::passkey::EnrolledKey)| Device {
            key: id.to_owned(),
            fingerprint: key.public_key.fingerprint(),
            user: key.user.clone(),
            device: key.device.clone().unwrap_or_default(),
            since: key.since,
            page: self.origin.url("/account"),
        };
        keys.iter().map(device).collect()
    }
}
