//! The ledger from outside: real files, a disk that fails, a process that is killed, a verifier that is not ours.

#![cfg(test)]

use std::{path::Path, sync::Arc};

use exeat_ledger::{Devices, Intent, Ledger, NoteKey, Options, Recovery, Refusal, Reservation};
use exeat_types::{AccountId, AgentId, Clock, Digest, FakeClock, Origin, Reason, Seal, ToolName};

mod approvals;
mod budgets;
mod device;
mod disk;
mod faults;
mod fixtures;
mod handover;
mod history;
mod keeping;
mod keys;
mod kill;
mod model;
mod python;
mod receipts;
mod records;

use keys::{TestSealer, TestSigner};
use records::{START, call, intent};

pub(crate) fn clock() -> Arc<FakeClock> {
    Arc::new(FakeClock::at(START))
}

pub(crate) fn devices(clock: &Arc<FakeClock>) -> Devices {
    let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    Devices {
        signer: TestSigner::new(1),
        sealer: Arc::new(TestSealer),
        clock,
    }
}

pub(crate) fn key() -> NoteKey {
    NoteKey::of(&*TestSigner::new(1)).unwrap()
}

/// Opens a ledger on real files with small segments.
pub(crate) fn open(dir: &Path) -> (Ledger, Recovery) {
    try_open(dir, 64 * 1024).unwrap()
}

pub(crate) fn try_open(
    dir: &Path,
    segment_bytes: u64,
) -> Result<(Ledger, Recovery), exeat_ledger::Error> {
    let options = Options {
        segment_bytes,
        ..Options::new(dir.to_owned())
    };
    let Devices {
        signer,
        sealer,
        clock,
    } = devices(&clock());
    Ledger::open(options, signer, sealer, clock)
}

pub(crate) fn reserving(n: u64, amount: u64) -> Intent {
    let reservation = Reservation {
        amount,
        budget: "claude/day".to_owned(),
        limit: None,
        unit: "USD-6".to_owned(),
        window: None,
    };
    Intent {
        reservations: vec![reservation],
        ..intent(n)
    }
}

pub(crate) fn refusal(n: u64) -> Refusal {
    Refusal {
        account: AccountId::local(),
        agent: AgentId::new("claude").unwrap(),
        approval: None,
        call: call(n),
        count: 1,
        limit: None,
        method: "DELETE".to_owned(),
        origin: Origin::parse("https://api.github.com").unwrap(),
        policy_digest: Digest::of(b"policy"),
        reason: Reason::PolicyForbids,
        risk: None,
        rules: vec!["no deletions".to_owned()],
        seal: Seal::None,
        tool: Some(ToolName::new("github.repos.delete").unwrap()),
    }
}
