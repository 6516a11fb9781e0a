//! The verifier in Python, which shares no code with this crate, comes to the same verdicts.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use exeat_ledger::{Filter, Ledger, NoteKey};
use exeat_types::AgentId;

use crate::{key, keys::TestSigner, open, records, refusal};

pub(crate) fn verifier() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/verify/verify.py")
}

/// The Python that `scripts/real-deps` makes, or the one on the path; `cryptography` must be there.
#[expect(
    clippy::disallowed_methods,
    reason = "where the real dependencies are is said by the environment"
)]
pub(crate) fn python() -> PathBuf {
    let cache = std::env::var_os("EXEAT_CACHE")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/exeat")));
    let real = cache.map(|cache| cache.join("real/python/bin/python3"));
    let python = real
        .filter(|path| path.exists())
        .unwrap_or_else(|| "python3".into());
    let check = Command::new(&python)
        .args(["-c", "import cryptography"])
        .output();
    assert!(
        check.as_ref().is_ok_and(|output| output.status.success()),
        "this test needs Python 3.11 with the package `cryptography`: run `scripts/real-deps` ({check:?})"
    );
    python
}

struct Export {
    dir: tempfile::TempDir,
    text: Vec<u8>,
    anchor: String,
}

fn fill(ledger: &Ledger) {
    for n in 0..6 {
        ledger.intent(records::intent(n)).wait_blocking().unwrap();
        if n != 3 {
            ledger.outcome(records::outcome(n)).wait_blocking().unwrap();
        }
    }
    ledger.refusal(refusal(6));
    ledger.flush();
}

fn export(filter: &Filter) -> Export {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(&dir.path().join("ledger"));
    fill(&ledger);
    let mut text = Vec::new();
    ledger.export(&mut text, filter).unwrap();
    let anchor = ledger.checkpoint().unwrap();
    Export { dir, text, anchor }
}

/// Runs the verifier; gives its exit status and what it printed.
fn run(export: &Export, text: &[u8], key: &NoteKey, anchor: Option<&str>) -> (i32, String) {
    let path = |name: &str| export.dir.path().join(name);
    fs::write(path("export.jsonl"), text).unwrap();
    fs::write(path("key"), format!("{key}\n")).unwrap();
    let mut command = Command::new(python());
    command
        .arg(verifier())
        .arg(path("export.jsonl"))
        .arg("--key")
        .arg(path("key"));
    if let Some(anchor) = anchor {
        fs::write(path("anchor"), anchor).unwrap();
        command.arg("--anchor").arg(path("anchor"));
    }
    let output = command.output().unwrap();
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

#[test]
fn an_export_is_proven_with_an_anchor_and_says_so_without() {
    let export = export(&Filter::default());
    let (status, said) = run(&export, &export.text, &key(), Some(&export.anchor));
    let lines = export.text.iter().filter(|&&byte| byte == b'\n').count();
    assert_eq!(
        (status, said.lines().next()),
        (
            0,
            Some(&*format!("complete to {0}, tail proven to {0}", lines - 2))
        )
    );
    assert!(
        said.contains("6 calls (1 open, 0 unknown), 1 refusals"),
        "{said}"
    );
    let (status, said) = run(&export, &export.text, &key(), None);
    assert_eq!(
        (status, said.contains("tail unproven")),
        (3, true),
        "{said}"
    );
}

#[test]
fn a_filtered_export_is_proven_too() {
    let agent = Some(AgentId::new("codex").unwrap());
    let export = export(&Filter {
        agent,
        ..Filter::default()
    });
    let (status, said) = run(&export, &export.text, &key(), Some(&export.anchor));
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("2 calls"), "{said}");
}

#[test]
fn flipped_bits_are_found_wherever_they_are() {
    let export = export(&Filter::default());
    let bits = export.text.len() * 8;
    // A spread over the export, and a bit of each kind of member in the last line.
    let last = export.text[..export.text.len() - 1]
        .iter()
        .rposition(|&b| b == b'\n')
        .unwrap()
        * 8;
    let spread = (0..12).map(|part| part * bits / 12 + part % 8);
    for bit in spread.chain((last + 13..bits).step_by((bits - last) / 8)) {
        let mut text = export.text.clone();
        text[bit / 8] ^= 1 << (bit % 8);
        let (status, said) = run(&export, &text, &key(), None);
        assert_eq!(status, 1, "bit {bit}: {said}");
    }
}

#[test]
fn a_rewritten_head_a_dropped_tail_and_another_key_are_found() {
    let export = export(&Filter::default());
    let lines: Vec<_> = export.text.split_inclusive(|&byte| byte == b'\n').collect();

    let shorter = lines[..lines.len() - 2].concat();
    let (status, said) = run(&export, &shorter, &key(), Some(&export.anchor));
    assert_eq!(
        (status, said.contains("the tail is missing")),
        (1, true),
        "{said}"
    );
    let (status, said) = run(&export, &shorter, &key(), None);
    assert_eq!(
        (status, said.contains("tail unproven")),
        (3, true),
        "{said}"
    );

    let other = NoteKey::of(&*TestSigner::new(9)).unwrap();
    let (status, said) = run(&export, &export.text, &other, None);
    assert_eq!(status, 1, "{said}");

    // Whoever stole the key writes another history; the anchor knows the true one.
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    for n in 20..40 {
        ledger.intent(records::intent(n)).wait_blocking().unwrap();
    }
    let mut forged = Vec::new();
    ledger.export(&mut forged, &Filter::default()).unwrap();
    let (status, said) = run(&export, &forged, &key(), None);
    assert_eq!(status, 3, "{said}");
    let (status, said) = run(&export, &forged, &key(), Some(&export.anchor));
    assert_eq!(
        (status, said.contains("not the records that were anchored")),
        (1, true),
        "{said}"
    );

    // A head that the key did not sign.
    let text = String::from_utf8(export.text.clone()).unwrap();
    let rewritten = text.replace("\"status\":201", "\"status\":200");
    let (status, said) = run(&export, rewritten.as_bytes(), &key(), None);
    assert_eq!(status, 1, "{said}");
}
