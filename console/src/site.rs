//! What every route shares.

use std::sync::Arc;

use exeat_pipeline::Gate;
use exeat_types::Timestamp;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Notifier, Operator, PublicOrigin,
    export::Exports,
    session::Sessions,
    sign_in::{Ceremonies, Codes},
};

/// The console of one gate.
pub(crate) struct Site {
    /// The gate.
    pub(crate) gate: Arc<Gate>,
    /// The rest of it.
    pub(crate) operator: Arc<dyn Operator>,
    /// The one URL of the console.
    pub(crate) origin: PublicOrigin,
    /// Who is signed in.
    pub(crate) sessions: Sessions,
    /// One-time codes for new passkeys.
    pub(crate) codes: Arc<Codes>,
    /// What authenticators were asked and have not answered.
    pub(crate) ceremonies: Ceremonies,
    /// What tells people that a question waits.
    pub(crate) notifier: Arc<Notifier>,
    /// The place for an export.
    pub(crate) exports: Exports,
    /// Whatever runs besides an answer.
    pub(crate) tasks: TaskTracker,
    /// Told when the console ends: answers that stay open end with it.
    pub(crate) stop: CancellationToken,
}

impl Site {
    /// The wall clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.gate.clock().now()
    }

    /// A session has ended: after the last one nobody is there.
    pub(crate) fn somebody_left(&self) {
        if !self.sessions.any(self.now()) {
            self.gate.presence().leave();
        }
    }
}
