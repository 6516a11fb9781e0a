//! The tokens that placeholders stand for, in memory, until they expire or too many newer ones came.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use exeat_types::{AgentId, Origin, Reach, Secret, Timestamp};

use super::{MintedKeys, MintedPart};
use crate::{Refused, Slot};

/// Tokens that are kept for one agent.
pub(super) const TOKENS_PER_AGENT_MAX: usize = 64;

/// All tokens that responses handed out.
#[derive(Default)]
pub(crate) struct MintedTokens(Mutex<Shelf>);

#[derive(Default)]
struct Shelf {
    tokens: HashMap<String, Arc<MintedToken>>,
    /// Placeholders of each agent, the oldest first.
    order: BTreeMap<AgentId, VecDeque<String>>,
    responses: u64,
}

/// A token, and where it may go.
pub(crate) struct MintedToken {
    pub(crate) agent: AgentId,
    pub(crate) secret: Arc<Secret>,
    pub(crate) part: MintedPart,
    pub(crate) to: Vec<Reach>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) until: Option<Timestamp>,
    /// The response that handed it out.
    pub(crate) response: u64,
}

impl MintedToken {
    /// Whether its placeholder is this agent's and may go there.
    pub(crate) fn is_for(&self, agent: &AgentId, origin: &Origin) -> bool {
        self.agent == *agent && self.to.iter().any(|reach| reach.covers(origin))
    }

    /// Whether it has not expired.
    pub(crate) fn is_fresh(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl MintedTokens {
    /// A number for the tokens of one response.
    pub(crate) fn next_response(&self) -> u64 {
        let mut shelf = self.shelf();
        shelf.responses = shelf.responses.wrapping_add(1);
        shelf.responses
    }

    /// Keeps tokens by their placeholders. The oldest of the agent go for them, and stay looked for without being held.
    pub(crate) fn keep(&self, tokens: Vec<(String, MintedToken)>) {
        let mut shelf = self.shelf();
        let Shelf {
            tokens: all, order, ..
        } = &mut *shelf;
        for (placeholder, token) in tokens {
            let line = order.entry(token.agent.clone()).or_default();
            line.push_back(placeholder.clone());
            all.insert(placeholder, Arc::new(token));
            while line.len() > TOKENS_PER_AGENT_MAX {
                if let Some(oldest) = line.pop_front() {
                    all.remove(&oldest);
                }
            }
        }
    }

    /// What a placeholder stands for.
    pub(crate) fn find(&self, placeholder: &str) -> Option<Arc<MintedToken>> {
        self.shelf().tokens.get(placeholder).cloned()
    }

    /// The JSON pointers at which placeholders of this agent may stand in bodies there.
    pub(crate) fn pointers(&self, agent: &AgentId, origin: &Origin) -> Vec<String> {
        let shelf = self.shelf();
        let own = shelf.order.get(agent).into_iter().flatten();
        let tokens = own.filter_map(|placeholder| shelf.tokens.get(placeholder));
        let reach = tokens.filter(|token| token.is_for(agent, origin));
        let mut pointers: Vec<String> = reach
            .flat_map(|token| &token.slots)
            .filter_map(|slot| match slot {
                Slot::Body(pointer) => Some(pointer.clone()),
                _ => None,
            })
            .collect();
        pointers.sort_unstable();
        pointers.dedup();
        pointers
    }

    /// The access key whose id has this placeholder; `None` when it is no such placeholder.
    pub(crate) fn keys(
        &self,
        (agent, origin): (&AgentId, &Origin),
        placeholder: &str,
        now: Timestamp,
    ) -> Result<Option<MintedKeys>, Refused> {
        let Some(id) = self.find(placeholder) else {
            return Ok(None);
        };
        if id.part != MintedPart::KeyId || !id.is_for(agent, origin) {
            return Err(Refused::misused("the id of an access key"));
        }
        if !id.is_fresh(now) {
            return Err(Refused::Stale);
        }
        let shelf = self.shelf();
        let own = shelf.order.get(agent).into_iter().flatten();
        let parts = own
            .filter_map(|placeholder| Some((placeholder, shelf.tokens.get(placeholder)?)))
            .filter(|(_, token)| token.response == id.response);
        let (mut secret, mut session, mut placeholders) = (None, None, Vec::new());
        for (placeholder, token) in parts {
            placeholders.push(placeholder.clone());
            let part = || token.secret.duplicate();
            match token.part {
                MintedPart::SecretKey => secret = Some(part()),
                MintedPart::SessionToken => session = Some(part()),
                MintedPart::Token
                | MintedPart::Lasting
                | MintedPart::Claims
                | MintedPart::KeyId => {}
            }
        }
        Ok(Some(MintedKeys {
            id: id.secret.duplicate(),
            secret: secret.ok_or(Refused::Stale)?,
            session,
            placeholders,
        }))
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
