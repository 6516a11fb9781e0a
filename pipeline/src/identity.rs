//! Stage 2, the part that knows tokens: is this token genuine, and does its family still stand?

use exeat_types::{AgentId, Reason};

use crate::Gate;

impl Gate {
    /// The agent that a `Proxy-Authorization` value stands for on this listener; `None` when the token is not good.
    pub fn agent_of_token(&self, value: &[u8], listener: &str) -> Option<AgentId> {
        let claim = self.tokens.check_header(value)?;
        let family = self.ledger.family(&claim.family)?;
        let current = family.generation == claim.generation && family.digest == claim.digest;
        let stands = current && !family.revoked && self.clock.now() < family.expires;
        let here = family
            .listener
            .as_deref()
            .is_none_or(|bound| bound == listener);
        (stands && here).then_some(family.agent)
    }

    /// Counts a connection or request that was turned away before it became a call.
    pub fn record_connection(&self, listener: &str, agent: Option<&AgentId>, reason: Reason) {
        self.ledger.connection(exeat_ledger::Connection {
            agent: agent.cloned(),
            count: 1,
            listener: listener.to_owned(),
            reason,
        });
    }
}
