//! The seeds of this crate's fuzz targets, replayed.

#[path = "../../fuzz/targets/journal_record.rs"]
mod journal_record;
#[path = "../../fuzz/replay.rs"]
mod replay;
#[path = "../../fuzz/targets/webauthn_assertion.rs"]
mod webauthn_assertion;
#[path = "../../fuzz/targets/webauthn_attestation.rs"]
mod webauthn_attestation;

#[test]
fn the_seeds_of_passkeys_hold() {
    replay::replay("webauthn_assertion", webauthn_assertion::run);
    replay::replay("webauthn_attestation", webauthn_attestation::run);
}

#[test]
fn the_seeds_of_journal_record_hold() {
    replay::replay("journal_record", journal_record::run);
}

#[test]
fn the_seeds_that_are_records_are_read() {
    let read = |name: &str| {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../fuzz/corpus/journal_record/"
        );
        let seed = std::fs::read(format!("{folder}{name}")).unwrap();
        exeat_ledger::Envelope::parse(&seed)
            .unwrap()
            .record()
            .map(drop)
    };
    for name in ["intent", "outcome", "connection", "approval", "enrolment"] {
        assert_eq!(read(name), Ok(()), "{name}");
    }
}
