//! Records of the tests: the same number always gives the same call.

use std::collections::BTreeMap;

use exeat_ledger::{CredentialUse, Ending, Intent, Outcome};
use exeat_types::{
    AccountId, AgentId, CallId, CredentialId, Digest, Origin, Seal, Timestamp, ToolName,
};

pub(crate) const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// The call with this number, always the same.
pub(crate) fn call(n: u64) -> CallId {
    let mut bytes = [0u8; 16];
    bytes[..6].copy_from_slice(&(START.millis() + n).to_be_bytes()[2..]);
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    CallId::from_bytes(bytes)
}

pub(crate) fn intent(n: u64) -> Intent {
    Intent {
        account: AccountId::local(),
        agent: AgentId::new(if n.is_multiple_of(3) {
            "codex"
        } else {
            "claude"
        })
        .unwrap(),
        approval: None,
        argument_digest: Digest::of(&n.to_be_bytes()),
        call: call(n),
        call_digest: Digest::of(b"call"),
        capture: None,
        category: "write".to_owned(),
        credential: Some(CredentialUse {
            id: CredentialId::new("github").unwrap(),
            kind: "bearer".to_owned(),
            thumbprint: "5f2c1a".to_owned(),
            version: 3,
        }),
        method: "POST".to_owned(),
        observed: false,
        origin: Origin::parse("https://api.github.com").unwrap(),
        path: "/repos/{owner}/{repo}/issues".to_owned(),
        policy_digest: Digest::of(b"policy"),
        reservations: Vec::new(),
        risk: None,
        rules: vec!["open issues in acme".to_owned()],
        run: None,
        seal: Seal::Sandbox,
        tool: ToolName::new(if n.is_multiple_of(2) {
            "github.issues.create"
        } else {
            "github.repos.get"
        })
        .unwrap(),
    }
}

pub(crate) fn outcome(n: u64) -> Outcome {
    Outcome {
        durations_us: BTreeMap::from([("forward".to_owned(), 812), ("total".to_owned(), 1034)]),
        redactions: BTreeMap::from([("github".to_owned(), 1)]),
        request_bytes: 122,
        response_bytes: 2048,
        response_digest: Some(Digest::of(b"response")),
        status: Some(201),
        ..Outcome::ended(call(n), Ending::Completed)
    }
}
