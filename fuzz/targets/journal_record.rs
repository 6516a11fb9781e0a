//! Records of the journal: one that is read is written back byte for byte, and every note keeps its head.
#![cfg_attr(fuzzing, no_main)]

use exeat_ledger::{Envelope, Head};

/// Reads the bytes as a record and as a checkpoint's note.
pub(crate) fn run(bytes: &[u8]) {
    if let Ok(envelope) = Envelope::parse(bytes) {
        assert!(envelope.moment().is_ok() || envelope.time.len() == 24);
        let _call = envelope.call();
        if let Ok(record) = envelope.record() {
            let body = record.body().unwrap_or_default();
            let again = Envelope {
                body: &body,
                ..envelope
            }
            .record();
            assert!(again.is_ok_and(|again| again.body().is_ok_and(|second| second == body)));
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(head) = Head::parse(text) {
        let printed = format!("{}\nsigned by nobody\n", head.text());
        assert!(Head::parse(&printed).is_ok_and(|again| again == head));
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
