//! Two verifiers follow approvals through an export: ours, and the one in Python. A log that a lying gate signed is forged
//! here record by record; each lie has to be found by both.

use std::{fs, process::Command};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use exeat_ledger::{
    Approval, ApprovalEvent, ApprovalUse, Asked, Enrolment, Extent, Filter, Head, Intent, Means,
    Record, Tree, Vote, leaf_hash,
    passkey::{self, Challenge, PublicKey, Relying},
    verify::{Signatures, Verdict, verify_export},
};
use exeat_types::{AccountId, AgentId, ApprovalId, Digest, Origin, Seal, ToolName};

use crate::{
    device::Device,
    key,
    keys::TestSigner,
    open,
    python::{python, verifier},
    records,
};

const ASKED_UNTIL: &str = "2026-09-21T15:13:20.000Z";
const GRANTED_UNTIL: &str = "2026-09-21T14:43:20.000Z";
/// When every forged record is written, but the late ones.
const AT: &str = "2026-09-21T14:13:20.000Z";
const LATE: &str = "2026-09-21T15:13:20.000Z";

fn step(event: ApprovalEvent) -> Approval {
    Approval {
        account: AccountId::local(),
        agent: AgentId::new("claude").unwrap(),
        approval: ApprovalId::new("apr-1").unwrap(),
        asked: None,
        by: None,
        digest: Digest::of(b"call"),
        event,
        expires: ASKED_UNTIL.parse().unwrap(),
        tool: ToolName::new("github.issues.create").unwrap(),
        uses: 1,
        vote: None,
    }
}

fn requested(approvers: u32, devices: u32) -> Approval {
    let asked = Asked {
        approvers,
        by: Means::Passkey,
        call: records::call(90),
        capture: None,
        category: "write".to_owned(),
        devices,
        method: "POST".to_owned(),
        offer: Extent::Uses(2),
        origin: Origin::parse("https://api.github.com").unwrap(),
        policy_digest: Digest::of(b"policy"),
        risk: None,
        rules: vec!["ask".to_owned()],
        seal: Seal::Sandbox,
        why: Vec::new(),
    };
    Approval {
        asked: Some(Box::new(asked)),
        ..step(ApprovalEvent::Requested)
    }
}

fn granted(device: &Device, uses: u32, nonce: u8) -> Approval {
    let extent = if uses == 1 {
        Extent::Once
    } else {
        Extent::Uses(uses)
    };
    let vote = Vote {
        assertion: None,
        extent: Some(extent),
        nonce: None,
        user: String::new(),
    };
    let unsigned = Approval {
        by: Some(Means::Passkey),
        expires: GRANTED_UNTIL.parse().unwrap(),
        uses,
        vote: Some(Box::new(vote)),
        ..step(ApprovalEvent::Granted)
    };
    device.grant(unsigned, nonce)
}

fn uses(n: u64) -> Intent {
    Intent {
        agent: AgentId::new("claude").unwrap(),
        approval: Some(ApprovalUse {
            by: Means::Passkey,
            id: ApprovalId::new("apr-1").unwrap(),
        }),
        tool: ToolName::new("github.issues.create").unwrap(),
        ..records::intent(n)
    }
}

/// An honest story: two people, one question that both grant twice over, both uses taken.
struct Story {
    ada: Device,
    bob: Device,
    records: Vec<(Record, &'static str)>,
}

const BOB: usize = 1;
const ASKED: usize = 2;
const ADA_GRANTS: usize = 3;
const BOB_GRANTS: usize = 4;
const FIRST_USE: usize = 5;

fn story() -> Story {
    let (ada, bob) = (Device::new("ada"), Device::new("bob"));
    let records = vec![
        Record::Enrolment(ada.enrolment()),
        Record::Enrolment(ada.vouch(bob.enrolment(), 1)),
        Record::Approval(requested(2, 2)),
        Record::Approval(granted(&ada, 2, 2)),
        Record::Approval(granted(&bob, 2, 3)),
        Record::Intent(uses(0)),
        Record::Outcome(records::outcome(0)),
        Record::Intent(uses(1)),
        Record::Outcome(records::outcome(1)),
    ];
    Story {
        ada,
        bob,
        records: records.into_iter().map(|record| (record, AT)).collect(),
    }
}

impl Story {
    fn approval(&mut self, at: usize) -> &mut Approval {
        match &mut self.records[at].0 {
            Record::Approval(approval) => approval,
            other => panic!("{other:?}"),
        }
    }

    fn vote(&mut self, at: usize) -> &mut Vote {
        self.approval(at).vote.as_mut().unwrap()
    }

    fn enrolment(&mut self, at: usize) -> &mut Enrolment {
        match &mut self.records[at].0 {
            Record::Enrolment(enrolment) => enrolment,
            other => panic!("{other:?}"),
        }
    }

    fn intent(&mut self, at: usize) -> &mut Intent {
        match &mut self.records[at].0 {
            Record::Intent(intent) => intent,
            other => panic!("{other:?}"),
        }
    }

    /// The export of a gate that wrote this and signed it.
    fn export(&self) -> Vec<u8> {
        let signer = TestSigner::new(1);
        let mut out = format!("{{\"export\":1,\"key\":\"{}\"}}\n", key()).into_bytes();
        let mut tree = Tree::empty();
        let mut prev = tree.root();
        let mut write = |kind: &str, body: &str, time: &str| {
            let line = format!(
                "{{\"body\":{body},\"kind\":\"{kind}\",\"prev\":\"{prev}\",\"seq\":{},\"time\":\"{time}\",\"v\":1}}",
                tree.size()
            );
            prev = leaf_hash(line.as_bytes());
            tree.append(prev);
            out.extend_from_slice(line.as_bytes());
            out.push(b'\n');
            (tree.size(), tree.root())
        };
        let mut head = (0, Digest::of(b""));
        for (record, time) in &self.records {
            let body = String::from_utf8(record.body().unwrap()).unwrap();
            head = write(record.kind().name(), &body, time);
        }
        let time = self.records.last().map_or(AT, |(_, time)| time);
        let note = Head {
            origin: key().name().to_owned(),
            size: head.0,
            root: head.1,
            time: time.to_owned(),
        };
        let note = note.sign(&*signer, &key()).unwrap();
        let body = serde_json::json!({ "note": note }).to_string();
        write("checkpoint", &body, time);
        out
    }
}

fn ours(export: &[u8]) -> Result<Verdict, String> {
    verify_export(export, &key(), None, Signatures::Every).map_err(|failure| failure.to_string())
}

fn theirs(exports: &[Vec<u8>]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("key"), format!("{}\n", key())).unwrap();
    let said = exports.iter().map(|export| {
        fs::write(path("export.jsonl"), export).unwrap();
        let output = Command::new(python())
            .arg(verifier())
            .arg(path("export.jsonl"))
            .arg("--key")
            .arg(path("key"))
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.stderr.is_empty(), "{errors}");
        String::from_utf8(output.stdout).unwrap()
    });
    said.collect()
}

#[test]
fn both_verifiers_check_every_signature_of_an_honest_log() {
    let export = story().export();
    let verdict = ours(&export).unwrap();
    assert_eq!((verdict.approved, verdict.approved_unsigned), (2, 0));
    let said = theirs(&[export]).remove(0);
    assert!(said.contains("2 calls approved with passkeys"), "{said}");
}

/// Two people on the command line, and whether what they granted was enough.
fn without_keys(devices: u32) -> Story {
    let mut question = requested(2, devices);
    question.asked.as_mut().unwrap().by = Means::Local;
    let vote = |user: &str| Approval {
        by: Some(Means::Local),
        expires: GRANTED_UNTIL.parse().unwrap(),
        vote: Some(Box::new(Vote {
            assertion: None,
            extent: Some(Extent::Once),
            nonce: None,
            user: user.to_owned(),
        })),
        ..step(ApprovalEvent::Granted)
    };
    let mut used = uses(0);
    used.approval.as_mut().unwrap().by = Means::Local;
    let records = [
        Record::Approval(question),
        Record::Approval(vote("ann")),
        Record::Approval(vote("ben")),
        Record::Intent(used),
        Record::Outcome(records::outcome(0)),
    ];
    Story {
        records: records.into_iter().map(|record| (record, AT)).collect(),
        ..story()
    }
}

#[test]
fn two_people_on_the_command_line_are_two_people_and_no_device() {
    let (enough, lacking) = (without_keys(1).export(), without_keys(2).export());
    assert_eq!(ours(&enough).unwrap().approved_unsigned, 1);
    ours(&lacking).unwrap_err();
    let said = theirs(&[enough, lacking]);
    assert!(said[0].contains("1 approved otherwise"), "{}", said[0]);
    assert!(said[1].starts_with("failed: "), "{}", said[1]);
}

type Lie = (&'static str, fn(&mut Story));

const LIES: &[Lie] = &[
    ("no key vouched for a second one", |s| {
        s.enrolment(BOB).vouched = None
    }),
    ("a second one vouched for itself", |s| {
        let fresh = s.bob.vouch(s.bob.enrolment(), 1);
        *s.enrolment(BOB) = fresh;
    }),
    ("the person of a key was changed", |s| {
        s.enrolment(BOB).user = "eve".to_owned()
    }),
    ("the device of a key was changed", |s| {
        s.enrolment(BOB).device = None
    }),
    ("the key was replaced", |s| {
        s.enrolment(BOB).public_key = Some(URL_SAFE_NO_PAD.encode(Device::new("eve").cose()));
    }),
    ("the key was enrolled after it signed", |s| {
        s.records.swap(BOB, BOB_GRANTS)
    }),
    ("the key was removed before it signed", |s| {
        let gone = Enrolment {
            public_key: None,
            ..s.bob.enrolment()
        };
        let gone = s.ada.vouch(gone, 9);
        s.records.insert(BOB_GRANTS, (Record::Enrolment(gone), AT));
    }),
    ("the key that granted was removed before the use", |s| {
        let gone = Enrolment {
            public_key: None,
            ..s.bob.enrolment()
        };
        let gone = s.ada.vouch(gone, 9);
        s.records.insert(FIRST_USE, (Record::Enrolment(gone), AT));
    }),
    ("somebody else added a key in her name", |s| {
        let planted = s.bob.vouch(Device::new("ada").enrolment(), 9);
        s.records.insert(ASKED, (Record::Enrolment(planted), AT));
    }),
    ("a removal that nobody signed", |s| {
        let gone = Enrolment {
            public_key: None,
            ..s.bob.enrolment()
        };
        s.records.push((Record::Enrolment(gone), AT));
    }),
    ("nobody signed", |s| s.vote(ADA_GRANTS).assertion = None),
    ("nobody voted", |s| s.approval(ADA_GRANTS).vote = None),
    ("another extent", |s| {
        s.vote(ADA_GRANTS).extent = Some(Extent::Once)
    }),
    ("more uses", |s| s.approval(ADA_GRANTS).uses = 20),
    ("more uses, said so", |s| {
        s.approval(ADA_GRANTS).uses = 20;
        s.vote(ADA_GRANTS).extent = Some(Extent::Uses(20));
    }),
    ("a later end", |s| {
        s.approval(ADA_GRANTS).expires = ASKED_UNTIL.parse().unwrap()
    }),
    ("another call", |s| {
        s.approval(ADA_GRANTS).digest = Digest::of(b"other")
    }),
    ("another call throughout", |s| {
        for at in [ASKED, ADA_GRANTS, BOB_GRANTS] {
            s.approval(at).digest = Digest::of(b"other");
        }
        for at in [FIRST_USE, FIRST_USE + 2] {
            s.intent(at).call_digest = Digest::of(b"other");
        }
    }),
    ("another agent throughout", |s| {
        for at in [ASKED, ADA_GRANTS, BOB_GRANTS] {
            s.approval(at).agent = AgentId::new("codex").unwrap();
        }
        for at in [FIRST_USE, FIRST_USE + 2] {
            s.intent(at).agent = AgentId::new("codex").unwrap();
        }
    }),
    ("another nonce", |s| {
        let other = s.vote(BOB_GRANTS).nonce.clone();
        s.vote(ADA_GRANTS).nonce = other;
    }),
    ("no nonce", |s| s.vote(ADA_GRANTS).nonce = None),
    ("another person", |s| {
        s.vote(ADA_GRANTS).user = "bob".to_owned()
    }),
    ("one person twice", |s| {
        let again = granted(&s.ada, 2, 8);
        s.records[BOB_GRANTS] = (Record::Approval(again), AT);
    }),
    ("one of two was enough", |s| {
        drop(s.records.remove(BOB_GRANTS))
    }),
    ("the user was not verified", |s| {
        s.ada.flags = 1;
        let bad = granted(&s.ada, 2, 2);
        *s.approval(ADA_GRANTS) = bad;
    }),
    ("nobody was present", |s| {
        s.ada.flags = 4;
        let bad = granted(&s.ada, 2, 2);
        *s.approval(ADA_GRANTS) = bad;
    }),
    ("on another page", |s| {
        s.ada.origin = "https://evil.example".to_owned();
        let bad = granted(&s.ada, 2, 2);
        *s.approval(ADA_GRANTS) = bad;
    }),
    ("another signature", |s| {
        let other = granted(&s.ada, 2, 2)
            .vote
            .unwrap()
            .assertion
            .unwrap()
            .signature;
        let assertion = s.vote(ADA_GRANTS).assertion.as_mut().unwrap();
        assertion.signature = other;
        assertion.client_data = assertion.client_data.replace('e', "f");
    }),
    ("the signature of another key", |s| {
        let bob = s.bob.id.clone();
        s.vote(ADA_GRANTS).assertion.as_mut().unwrap().key = bob;
    }),
    ("granted by the command line", |s| {
        s.approval(ADA_GRANTS).by = Some(Means::Local);
        s.vote(ADA_GRANTS).assertion = None;
    }),
    ("granted too late", |s| {
        for (_, time) in &mut s.records[BOB_GRANTS..] {
            *time = LATE;
        }
    }),
    ("used too late", |s| {
        for (_, time) in &mut s.records[FIRST_USE..] {
            *time = LATE;
        }
    }),
    ("used before it was granted", |s| {
        s.records.swap(BOB_GRANTS, FIRST_USE)
    }),
    ("used for another call", |s| {
        s.intent(FIRST_USE).call_digest = Digest::of(b"changed")
    }),
    ("used by another agent", |s| {
        s.intent(FIRST_USE).agent = AgentId::new("codex").unwrap()
    }),
    ("used once more", |s| {
        s.records.push((Record::Intent(uses(2)), AT));
    }),
    ("an approval that is not there", |s| {
        s.intent(FIRST_USE).approval.as_mut().unwrap().id = ApprovalId::new("apr-2").unwrap();
    }),
    ("asked twice", |s| {
        let again = s.records[ASKED].clone();
        s.records.push(again);
    }),
    ("the same assertion for another question", |s| {
        let id = ApprovalId::new("apr-2").unwrap();
        for at in [ASKED, ADA_GRANTS, BOB_GRANTS] {
            let mut copy = s.approval(at).clone();
            copy.approval = id.clone();
            s.records.push((Record::Approval(copy), AT));
        }
    }),
    ("used after it was refused", |s| {
        s.records[BOB_GRANTS] = (Record::Approval(step(ApprovalEvent::Refused)), AT);
    }),
    ("used after it was revoked", |s| {
        let revoked = Record::Approval(step(ApprovalEvent::Revoked));
        s.records.insert(FIRST_USE, (revoked, AT));
    }),
];

#[test]
fn both_verifiers_find_every_lie_of_a_gate() {
    let exports: Vec<Vec<u8>> = LIES
        .iter()
        .map(|(name, lie)| {
            let mut story = story();
            lie(&mut story);
            let export = story.export();
            let verdict = ours(&export);
            assert!(verdict.is_err(), "{name}: {verdict:?}");
            export
        })
        .collect();
    for ((name, _), said) in LIES.iter().zip(theirs(&exports)) {
        assert!(said.starts_with("failed: line"), "{name}: {said}");
    }
}

#[test]
fn the_gate_itself_takes_no_key_that_nobody_vouched_for() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    let (ada, bob) = (Device::new("ada"), Device::new("bob"));
    let append =
        |enrolment: Enrolment| ledger.append(&Record::Enrolment(enrolment)).wait_blocking();
    append(ada.enrolment()).unwrap();
    append(bob.enrolment()).unwrap_err();
    append(bob.vouch(bob.enrolment(), 1)).unwrap_err();
    append(ada.vouch(bob.enrolment(), 1)).unwrap();
    assert!(ledger.passkey(&bob.id).is_some());
    drop(ledger);
    let (ledger, _) = open(dir.path());
    assert_eq!(ledger.passkeys().iter().count(), 2);
    let gone = Enrolment {
        public_key: None,
        ..ada.enrolment()
    };
    let written = ledger.append(&Record::Enrolment(bob.vouch(gone, 2)));
    written.wait_blocking().unwrap();
    assert!(ledger.passkey(&ada.id).is_none());
}

#[test]
fn a_filtered_export_brings_what_its_approvals_need() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    for (record, _) in story().records {
        ledger.append(&record).wait_blocking().unwrap();
    }
    ledger.intent(records::intent(3)).wait_blocking().unwrap();
    ledger.outcome(records::outcome(3)).wait_blocking().unwrap();
    let filter = Filter {
        agent: Some(AgentId::new("claude").unwrap()),
        ..Filter::default()
    };
    let mut export = Vec::new();
    ledger.export(&mut export, &filter).unwrap();
    let verdict = ours(&export).unwrap();
    assert_eq!((verdict.approved, verdict.approved_unsigned), (2, 0));
    assert!(verdict.hidden > 0);
    assert!(
        theirs(&[export])
            .remove(0)
            .contains("2 calls approved with passkeys")
    );
}

#[test]
fn a_grant_that_chromium_signed_holds() {
    let vector: serde_json::Value =
        serde_json::from_str(include_str!("../vectors/chromium.json")).unwrap();
    let step: Approval = serde_json::from_value(vector["grant"].clone()).unwrap();
    let text = |name: &str| vector[name].as_str().unwrap().to_owned();
    let key = PublicKey::parse(&text("public_key")).unwrap();
    let relying = Relying {
        rp_id: text("rp_id"),
        origin: text("origin"),
    };
    let challenge = Challenge::of(&step).unwrap().digest();
    let signed = step.vote.unwrap().assertion.unwrap();
    passkey::verify(&key, &signed, &challenge, &relying).unwrap();
    passkey::verify(&key, &signed, &Digest::of(b"other"), &relying).unwrap_err();
}
