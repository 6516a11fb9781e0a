//! Reading everything again: after a signal, a changed file, a changed secret, or what another gate says.

use anyhow::Context as _;
use exeat_ledger::{Change, CredentialChange, Record};
use exeat_types::CredentialId;

use super::Desk;
use crate::{socket::Failure, upgrade::Word};

impl Desk {
    /// What is known of it changed in another process.
    pub(crate) async fn follow(&self) {
        if let Err(error) = self.state.reopen_vault() {
            tracing::error!(
                problem = format!("{error:#}"),
                "the secrets could not be read again"
            );
        }
        self.reload().await;
    }

    /// Reads everything anew and puts it in force, all or nothing.
    pub(crate) async fn reload(&self) {
        let Some(running) = &self.running else { return };
        let _turn = self.reloading.lock().await;
        match self.load_again().await {
            Ok(rules) => {
                let changed = running.gate.rules().policy.digest() != rules.policy.digest();
                running.gate.replace_rules(rules);
                if changed && !running.replacing.is_replaced() {
                    self.state.record_policy(&running.gate);
                }
                running.replacing.tell(&Word::Reload {});
                tracing::info!(changed, "the configuration was read again");
            }
            Err(error) => {
                let problem = format!("{error:#}");
                tracing::error!(
                    problem,
                    "the new configuration is not in force; the old one stays"
                );
            }
        }
    }

    async fn load_again(&self) -> anyhow::Result<exeat_pipeline::Rules> {
        let settings = self.state.settings().context("no configuration")?;
        let fresh = settings.reload()?;
        let rules = self.state.rules(&fresh).await?;
        if let Some(door) = self.running.as_ref().and_then(|it| it.console.as_ref()) {
            door.notifier.use_channels(fresh.notify.clone());
        }
        self.state.replace_settings(fresh);
        self.bound_requests();
        if let Err(error) = self.state.renew_root() {
            tracing::error!(
                problem = format!("{error:#}"),
                "listeners sign with the root that they had"
            );
        }
        Ok(rules)
    }

    pub(super) async fn secret_changed(
        &self,
        name: &str,
        version: u32,
        change: Change,
    ) -> Result<(), Failure> {
        let named = |id: CredentialId| CredentialChange {
            change,
            credential: id,
            version,
        };
        if let Ok(id) = CredentialId::new(name) {
            let durable = self
                .state
                .ledger()
                .append(&Record::CredentialChange(named(id)));
            durable
                .done()
                .await
                .map_err(|error| Failure::from(anyhow::Error::new(error)))?;
        }
        self.reload().await;
        Ok(())
    }
}
