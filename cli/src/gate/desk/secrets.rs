//! Sealed secrets for the operator: names and versions. A value comes in and never goes out.

use std::sync::Arc;

use exeat_custody::Vault;
use exeat_ledger::Change;
use exeat_types::Secret;

use super::{super::notes::PLACE, Desk};
use crate::socket::{Failure, SecretEntry};

impl Desk {
    async fn entry(&self, name: &str) -> Result<Option<SecretEntry>, Failure> {
        let entries = self.entries().await?;
        Ok(entries.into_iter().find(|entry| entry.name == name))
    }

    pub(super) async fn entries(&self) -> Result<Vec<SecretEntry>, Failure> {
        let list = self.in_vault(|vault| Ok(vault.list())).await?;
        Ok(list
            .into_iter()
            .filter(|entry| !entry.name.starts_with(PLACE))
            .map(|entry| SecretEntry {
                name: entry.name,
                version: entry.version,
                created: entry.created,
            })
            .collect())
    }

    pub(super) async fn secret_removed(&self, name: String) -> Result<SecretEntry, Failure> {
        let _turn = self.turn().await?;
        let absent = || {
            Failure::new(format!("there is no secret `{name}`"))
                .help("`exeat secret list` shows them")
        };
        let entry = self.entry(&name).await?.ok_or_else(absent)?;
        let now = self.state.clock().now();
        let removed = name.clone();
        self.in_vault(move |vault| vault.remove(&removed, now))
            .await?;
        self.secret_changed(&name, entry.version, Change::Revoked)
            .await?;
        Ok(entry)
    }

    pub(super) async fn secret_kept(
        &self,
        name: String,
        secret: Secret,
    ) -> Result<SecretEntry, Failure> {
        let _turn = self.turn().await?;
        if name.starts_with(PLACE) {
            return Err(Failure::new(format!(
                "names that begin with `{PLACE}` are the gate's own"
            )));
        }
        let now = self.state.clock().now();
        let kept = name.clone();
        let set = self.in_vault(move |vault| vault.set(&kept, &secret, now));
        let version = set.await?;
        let change = if version > 1 {
            Change::Rotated
        } else {
            Change::Created
        };
        self.secret_changed(&name, version, change).await?;
        self.entry(&name)
            .await?
            .ok_or_else(|| Failure::new("the secret was removed at once by somebody else"))
    }

    /// Uses the vault on a thread that may wait for it, and for the disk.
    async fn in_vault<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Vault) -> Result<T, exeat_custody::Error> + Send + 'static,
    ) -> Result<T, Failure> {
        let state = Arc::clone(&self.state);
        let acted = tokio::task::spawn_blocking(move || act(&mut state.vault()));
        let acted = acted.await.map_err(anyhow::Error::new)?;
        Ok(acted.map_err(anyhow::Error::new)?)
    }
}
