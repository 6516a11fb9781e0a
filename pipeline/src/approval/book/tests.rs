//! What a call finds of what was answered, and what it does not.

use exeat_ledger::{Extent, Means};
use exeat_policy::{Approve, Approver, Remember};
use exeat_types::{CallId, Seal, ToolName};

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);
const HOURS: Duration = Duration::from_secs(8 * 60 * 60);

pub(in crate::approval) fn pending(id: &str) -> Pending {
    Pending {
        id: ApprovalId::new(id).unwrap(),
        agent: AgentId::new("claude").unwrap(),
        tool: ToolName::new("a.b").unwrap(),
        category: "write".to_owned(),
        method: "POST".to_owned(),
        origin: "https://api.test".to_owned(),
        seal: Seal::Sandbox,
        call: CallId::from_bytes([0; 16]),
        asked: NOW,
        expires: NOW.after(HOURS),
        digest: Digest::of(b"call"),
        approve: Approve {
            by: Approver::Local,
            ..Approve::STRICTEST
        },
        rules: Vec::new(),
        why: Vec::new(),
        risk: None,
        progress: Progress::Pending,
        given: Vec::new(),
        waiting: 0,
        request: None,
    }
}

fn granted(by: Means, extent: Extent) -> (Progress, Vec<Given>) {
    let given = Given {
        user: "ann".to_owned(),
        by,
        key: None,
        extent: Some(extent),
        at: NOW,
    };
    (Progress::Granted(9), vec![given])
}

#[track_caller]
fn check(pending: Pending, seal: Seal, approve: Approve, expect: &str) {
    let (agent, digest) = (pending.agent.clone(), pending.digest);
    let mut book = Book::default();
    book.insert(Entry::new(pending));
    let wanted = Wanted {
        agent: &agent,
        seal,
        digest: &digest,
        approve,
    };
    let found = match book.find(&wanted, NOW) {
        Found::Usable(..) => "usable",
        Found::Waiting(..) => "waiting",
        Found::Nothing => "nothing",
    };
    assert_eq!(found, expect);
}

#[test]
fn who_is_not_sealed_finds_only_what_needs_a_key() {
    let local = pending("apr-1");
    let wanted = local.approve;
    check(local.clone(), Seal::Sandbox, wanted, "waiting");
    check(local.clone(), Seal::None, wanted, "nothing");
    let mut own = local.clone();
    own.seal = Seal::None;
    check(own, Seal::None, wanted, "waiting");
    let mut strict = local.clone();
    strict.approve = Approve::STRICTEST;
    check(strict, Seal::None, wanted, "waiting");
    for (by, unsealed) in [(Means::Local, "nothing"), (Means::Passkey, "usable")] {
        let mut given = local.clone();
        (given.progress, given.given) = granted(by, Extent::Once);
        check(given.clone(), Seal::Gateway, wanted, "usable");
        check(given, Seal::None, wanted, unsealed);
    }
}

#[test]
fn what_holds_for_longer_than_is_wanted_is_not_used() {
    let of = |remember| Approve {
        remember,
        ..pending("apr-1").approve
    };
    let mut asked = pending("apr-1");
    asked.approve = of(Remember::Until(HOURS));
    check(
        asked.clone(),
        Seal::Sandbox,
        of(Remember::Until(HOURS)),
        "waiting",
    );
    check(asked.clone(), Seal::Sandbox, of(Remember::Once), "nothing");
    let until = Extent::Until(NOW.after(HOURS));
    for (extent, once) in [(until, "nothing"), (Extent::Once, "usable")] {
        let mut given = asked.clone();
        (given.progress, given.given) = granted(Means::Local, extent);
        check(given.clone(), Seal::Sandbox, asked.approve, "usable");
        check(given, Seal::Sandbox, of(Remember::Once), once);
    }
    let mut five = pending("apr-1");
    five.approve = of(Remember::Uses(5));
    for (uses, expect) in [(5, "waiting"), (9, "waiting"), (4, "nothing")] {
        check(
            five.clone(),
            Seal::Sandbox,
            of(Remember::Uses(uses)),
            expect,
        );
    }
}
