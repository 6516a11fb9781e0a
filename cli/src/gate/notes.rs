//! What issuers note durably, such as refresh tokens: sealed in the vault, beside the operator's own secrets.

use std::sync::Arc;

use exeat_custody::{Error, Keep};
use exeat_types::Secret;

use super::state::State;

/// Where notes lie in the vault, so that none takes the name of a secret.
pub(super) const PLACE: &str = "issued/";

/// The vault of a data folder, as issuers see it.
pub(super) struct Notes(pub(super) Arc<State>);

impl Keep for Notes {
    fn load(&self, name: &str) -> Result<Option<Secret>, Error> {
        match self.0.vault().get(&place(name)) {
            Ok((secret, _version)) => Ok(Some(secret)),
            Err(Error::SecretAbsent { .. } | Error::SecretRevoked { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn store(&self, name: &str, secret: &Secret) -> Result<(), Error> {
        let now = self.0.clock().now();
        self.0
            .vault()
            .set(&place(name), secret, now)
            .map(|_version| ())
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        let now = self.0.clock().now();
        match self.0.vault().remove(&place(name), now) {
            Ok(()) | Err(Error::SecretAbsent { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn place(name: &str) -> String {
    format!("{PLACE}{name}")
}
