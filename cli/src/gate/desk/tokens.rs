//! Agent tokens for the operator. A token is shown once, to whoever asked for it.

use std::time::Duration;

use exeat_ledger::{Change, Record, TokenChange};

use super::Desk;
use crate::socket::{Failure, TokenMade, TokenOrder};

impl Desk {
    pub(super) async fn token_made(&self, order: TokenOrder) -> Result<TokenMade, Failure> {
        let _turn = self.turn().await?;
        let settings = self.state.settings();
        if settings.is_some_and(|settings| !settings.agents.contains_key(&order.agent)) {
            return Err(Failure::new(format!(
                "the agent `{}` is not in [agents]",
                order.agent
            )));
        }
        let made = self
            .state
            .tokens()
            .found_family()
            .map_err(anyhow::Error::new)?;
        let claim = made.claim.clone();
        let expires = self
            .state
            .clock()
            .now()
            .after(Duration::from_secs(order.life_secs));
        let change = TokenChange {
            agent: order.agent.clone(),
            change: Change::Created,
            digest: claim.digest,
            expires,
            family: claim.family.clone(),
            generation: claim.generation,
            listener: order.listener,
        };
        let durable = self.state.ledger().append(&Record::TokenChange(change));
        durable
            .done()
            .await
            .map_err(|error| Failure::from(anyhow::Error::new(error)))?;
        Ok(TokenMade {
            token: made.reveal().to_string(),
            family: claim.family,
            agent: order.agent,
            expires,
        })
    }
}
