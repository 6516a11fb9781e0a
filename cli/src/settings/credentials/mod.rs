//! Reads `[credentials]`: each with a kind, the hosts it belongs to and a reference to its secret or its key.
//!
//! Each kind is read by one function, and [`KINDS`] lists them all.

#[cfg(test)]
mod documented;
mod entitlement;
mod github;
mod google;
mod mtls;
mod oauth;
mod registry;
mod signature;
mod sigv4;
mod simple;
#[cfg(test)]
mod tests;

use exeat_custody::{Kind, Shape};
use exeat_types::{
    Authority, CredentialId, Origin, Report, Scheme,
    config::{Item, Table},
};

pub(super) use oauth::certificate_of;

use super::raw::{Placed, RawCredential, name_of, placed, texts};

/// Reads the keys of one kind.
type Reader = fn(&Table<'_>, &Item<'_>, &mut Report) -> Option<Kind>;

/// A kind, by its word.
struct KindWord {
    word: &'static str,
    read: Reader,
    needs: Needs,
}

/// What a kind cannot be without.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// A secret, always; it never has a signer.
    Secret,
    /// A secret or a signer, or both, or neither: the kind says so itself when it is made.
    Either,
}

const KINDS: &[KindWord] = &[
    KindWord {
        word: "bearer",
        read: simple::bearer,
        needs: Needs::Secret,
    },
    KindWord {
        word: "api-key",
        read: simple::api_key,
        needs: Needs::Secret,
    },
    KindWord {
        word: "basic",
        read: simple::basic,
        needs: Needs::Secret,
    },
    KindWord {
        word: "slots",
        read: simple::slots,
        needs: Needs::Secret,
    },
    KindWord {
        word: "sigv4",
        read: sigv4::sigv4,
        needs: Needs::Secret,
    },
    KindWord {
        word: "gcp-service-account",
        read: google::service_account,
        needs: Needs::Either,
    },
    KindWord {
        word: "github-app",
        read: github::app,
        needs: Needs::Either,
    },
    KindWord {
        word: "oauth",
        read: oauth::oauth,
        needs: Needs::Either,
    },
    KindWord {
        word: "mtls",
        read: mtls::mtls,
        needs: Needs::Either,
    },
    KindWord {
        word: "registry",
        read: registry::registry,
        needs: Needs::Secret,
    },
    KindWord {
        word: "entitlement",
        read: entitlement::entitlement,
        needs: Needs::Either,
    },
    KindWord {
        word: "signature",
        read: signature::signature,
        needs: Needs::Either,
    },
];

pub(super) fn read(table: &Table<'_>, report: &mut Report) -> Vec<RawCredential> {
    let mut credentials = Vec::new();
    for (name, span, item) in table.entries() {
        let id = name_of::<CredentialId>(table, name, &span, report);
        if name == "payment" {
            item.problem(report, "in an order of credentials, `payment` means paying")
                .help("give this credential another name");
        }
        let Some(inner) = item.table(report) else {
            continue;
        };
        let known = kind(&inner, report);
        let needs = known.as_ref().map_or(Needs::Either, |(_, needs)| *needs);
        let hosts = inner.need("hosts", report);
        let origins = hosts.map(|hosts| hosts.items(report)).unwrap_or_default();
        if let Some(hosts) = hosts.filter(|_| origins.is_empty()) {
            hosts
                .problem(report, "a credential without hosts can never be used")
                .help("name its hosts");
        }
        let origins = origins
            .iter()
            .filter_map(|item| origin(item, report))
            .collect();
        let secret = match needs {
            Needs::Secret => inner.need("secret", report),
            Needs::Either => inner.get("secret"),
        };
        let secret = secret.and_then(|item| placed(&item, report));
        let signer = match needs {
            Needs::Secret => None,
            Needs::Either => inner.get("signer"),
        };
        let signer = signer.and_then(|item| placed(&item, report));
        let variables = match inner.get("env") {
            Some(one) if one.text(&mut Report::new()).is_some() => {
                placed(&one, report).into_iter().collect()
            }
            Some(_) => texts(&inner, "env", report),
            None => Vec::new(),
        };
        let shape = inner
            .get("shape")
            .and_then(|item| item.parse(report))
            .unwrap_or(Shape::Auto);
        inner.finish(report);
        credentials.extend(id.map(|id| RawCredential {
            id,
            kind: known.map(|(kind, _)| kind),
            origins,
            secret,
            signer,
            shape,
            variables,
        }));
    }
    credentials
}

/// Reads `kind` and the keys that belong to it; a key of another kind is not known.
fn kind(table: &Table<'_>, report: &mut Report) -> Option<(Kind, Needs)> {
    let item = table.need("kind", report)?;
    let words: Vec<(&str, &KindWord)> = KINDS.iter().map(|kind| (kind.word, kind)).collect();
    let known = item.word(report, &words)?;
    Some(((known.read)(table, &item, report)?, known.needs))
}

/// `https` unless a scheme is written.
fn origin(item: &Item<'_>, report: &mut Report) -> Option<Placed<Origin>> {
    let text = item.text(report)?;
    let parsed = if text.contains("://") {
        Origin::parse(text)
    } else {
        Authority::parse(text).map(|authority| Origin::new(Scheme::Https, authority))
    };
    match parsed {
        Ok(origin) => Some(Placed::new(item, origin)),
        Err(problem) => {
            item.problem(report, problem.to_string())
                .help("expected a host, `host:port` or an origin");
            None
        }
    }
}
