//! Reads `[credentials]`: each with a kind, the hosts it belongs to and a reference to its secret.

use exeat_custody::{Kind, Shape};
use exeat_types::{
    Authority, CredentialId, Origin, Report, Scheme,
    config::{Item, Table},
};

use super::raw::{Placed, RawCredential, name_of, placed, texts};

pub(super) fn read(table: &Table<'_>, report: &mut Report) -> Vec<RawCredential> {
    let mut credentials = Vec::new();
    for (name, span, item) in table.entries() {
        let id = name_of::<CredentialId>(table, name, &span, report);
        let Some(inner) = item.table(report) else {
            continue;
        };
        let kind = kind(&inner, report);
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
        let secret = inner
            .need("secret", report)
            .and_then(|item| placed(&item, report));
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
            kind,
            origins,
            secret,
            shape,
            variables,
        }));
    }
    credentials
}

#[derive(Clone, Copy)]
enum KindWord {
    Bearer,
    ApiKey,
    Basic,
}

/// Reads `kind` and the keys that belong to it; a key of another kind is a problem.
fn kind(table: &Table<'_>, report: &mut Report) -> Option<Kind> {
    let words = [
        ("bearer", KindWord::Bearer),
        ("api-key", KindWord::ApiKey),
        ("basic", KindWord::Basic),
    ];
    let kind = table.need("kind", report)?;
    let (header, query, username) = (
        table.get("header"),
        table.get("query"),
        table.get("username"),
    );
    let word = kind.word(report, &words)?;
    let strangers = match word {
        KindWord::Bearer => [header, query, username],
        KindWord::ApiKey => [username, None, None],
        KindWord::Basic => [header, query, None],
    };
    for stranger in strangers.into_iter().flatten() {
        stranger.problem(
            report,
            "this key does not belong to this kind of credential",
        );
    }
    match word {
        KindWord::Bearer => Some(Kind::Bearer),
        KindWord::ApiKey => match (header, query) {
            (Some(header), None) => header.parse(report).map(Kind::ApiKeyHeader),
            (None, Some(query)) => query
                .text(report)
                .map(|name| Kind::ApiKeyQuery(name.to_owned())),
            (Some(_), Some(query)) => {
                query
                    .problem(report, "an API key travels in one place, not two")
                    .help("keep `header` or `query`");
                None
            }
            (None, None) => {
                kind.problem(report, "an API key needs `header` or `query`")
                    .help("such as `header = \"x-api-key\"`");
                None
            }
        },
        KindWord::Basic => {
            let username = table.need("username", report)?;
            let text = username.text(report)?;
            if text.contains(':') || text.chars().any(char::is_control) {
                username.problem(
                    report,
                    "a user name has neither colons nor control characters",
                );
                return None;
            }
            Some(Kind::Basic {
                username: text.to_owned(),
            })
        }
    }
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
