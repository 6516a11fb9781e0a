//! Reads `[signers]`: each names the place of one key that signs. Each kind is read by one function, and [`KINDS`] lists
//! them all.

mod local;
mod remote;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use exeat_custody::{SecretRef, SignerKind};
use exeat_types::{
    CredentialId, Report,
    config::{Item, Table},
};

pub(super) use local::tcti;
pub(super) use local::token;

use super::{
    mask,
    raw::{Placed, name_of},
};

/// Reads the keys of one kind; a key of another kind is not known.
type Reader = fn(&Table<'_>, &Item<'_>, &mut Report) -> Option<Arc<dyn SignerKind>>;

/// A kind, by its word.
struct KindWord {
    word: &'static str,
    read: Reader,
}

const KINDS: &[KindWord] = &[
    KindWord {
        word: "software",
        read: local::software,
    },
    KindWord {
        word: "pkcs11",
        read: local::pkcs11,
    },
    KindWord {
        word: "tpm",
        read: local::tpm,
    },
    KindWord {
        word: "aws-kms",
        read: remote::aws_kms,
    },
    KindWord {
        word: "gcp-kms",
        read: remote::gcp_kms,
    },
    KindWord {
        word: "vault-transit",
        read: remote::transit,
    },
    KindWord {
        word: "remote",
        read: remote::remote,
    },
];

/// A signer as the file has it.
pub(super) struct RawSigner {
    /// Its name, written like that of a credential.
    pub(super) name: Placed<CredentialId>,
    /// Where its key lies; absent after a mistake that was reported.
    pub(super) kind: Option<Arc<dyn SignerKind>>,
}

pub(super) fn read(table: &Table<'_>, report: &mut Report) -> Vec<RawSigner> {
    let mut signers = Vec::new();
    for (name, span, item) in table.entries() {
        let name = name_of::<CredentialId>(table, name, &span, report);
        let Some(inner) = item.table(report) else {
            continue;
        };
        let kind = kind(&inner, report);
        inner.finish(report);
        signers.extend(name.map(|name| RawSigner { name, kind }));
    }
    signers
}

fn kind(table: &Table<'_>, report: &mut Report) -> Option<Arc<dyn SignerKind>> {
    let item = table.need("kind", report)?;
    let words: Vec<(&str, &KindWord)> = KINDS.iter().map(|kind| (kind.word, kind)).collect();
    let known = item.word(report, &words)?;
    (known.read)(table, &item, report)
}

/// A reference to a secret, such as `sealed:pin`. Anything else may be the secret itself, and is not repeated.
pub(in crate::settings) fn reference(item: &Item<'_>, report: &mut Report) -> Option<SecretRef> {
    if !item.text(report).is_some_and(mask::is_reference) {
        item.problem(report, "a secret does not belong in this file")
            .label("not shown")
            .help("store it with `exeat secret set NAME` and write `\"sealed:NAME\"`");
        return None;
    }
    item.parse(report)
}
