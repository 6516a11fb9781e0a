//! Exports of every version of the format that was ever written; the reader of today must still read and verify them.
//!
//! A fixture is never changed. A new version of the format gets a folder of its own.

use std::{fs, path::Path};

use exeat_ledger::{
    Envelope, Kind, NoteKey,
    verify::{Signatures, verify_export},
};

#[test]
fn version_1_is_still_read_and_verified() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1");
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let key: NoteKey = read("key").parse().unwrap();
    let export = read("export.jsonl");
    let anchor = read("anchor");
    let verdict = verify_export(export.as_bytes(), &key, Some(&anchor), Signatures::Every).unwrap();
    assert!(verdict.tail_is_proven());
    let counts = (
        verdict.calls,
        verdict.open,
        verdict.unknown,
        verdict.refusals,
    );
    assert_eq!(counts, (4, 1, 1, 2));

    let mut kinds = Vec::new();
    for line in export.lines().skip(1) {
        let envelope = Envelope::parse(line.as_bytes()).unwrap();
        let record = envelope.record().unwrap();
        // Written again it is the same, byte for byte.
        assert_eq!(record.body().unwrap(), envelope.body);
        kinds.push(envelope.kind);
    }
    for kind in Kind::ALL {
        assert!(
            kinds.contains(&kind),
            "the fixture has no `{}`",
            kind.name()
        );
    }
    let damaged = export.replacen("\"amount\":\"5\"", "\"amount\":\"4\"", 1);
    assert_ne!(damaged, export);
    assert!(verify_export(damaged.as_bytes(), &key, None, Signatures::Last).is_err());
}
