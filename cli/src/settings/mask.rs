//! Keeps a secret that somebody wrote into `exeat.toml` out of every message: its characters are replaced before the file
//! is checked, so that no caret can point at them. Places stay the same, as each byte becomes one `*`.

use std::ops::Range;

use exeat_types::{
    Report, Source,
    config::{Document, Item},
};

/// What a reference to a secret begins with.
const SCHEMES: [&str; 5] = ["sealed:", "keyring:", "vault:", "env:", "cmd:"];

/// Keys of a credential whose values are shown in messages.
const PLAIN_KEYS: &[&str] = &[
    "kind",
    "hosts",
    "header",
    "query",
    "username",
    "env",
    "shape",
    "access-key-id",
    "services",
    "regions",
    "grant",
    "auth",
    "issuer",
    "protected-resource",
    "authorization-endpoint",
    "token-endpoint",
    "device-endpoint",
    "par-endpoint",
    "revocation-endpoint",
    "introspection-endpoint",
    "token-hosts",
    "client-id",
    "scopes",
    "resource",
    "audience",
    "redirect",
    "dpop",
    "par",
    "authorization-parameters",
    "key-id",
    "subject",
    "subject-token-type",
    "requested-token-type",
    "certificate",
    "signer",
    "form",
    "email",
    "app",
    "installation",
    "repositories",
    "api",
    "permissions",
    "realm",
    "service",
    "profile",
    "agent",
    "components",
    "label",
    "tag",
    "nonce",
    "lifetime-secs",
    "key-encoding",
    "format",
    "issuer-keys",
    "status-keys",
    "type",
    "disclose",
    "status-hosts",
    "unknown-status",
    "offered-by",
];

/// Keys of a signer whose values are shown.
const PLAIN_OF_SIGNERS: &[&str] = &[
    "kind",
    "module",
    "token-label",
    "label",
    "tcti",
    "handle",
    "region",
    "key-id",
    "key-version",
    "access-key-id",
    "endpoint",
    "mount",
    "url",
    "certificate",
    "address",
    "role",
    "login-mount",
    "namespace",
];

/// Keys of `[vault]` whose values are shown.
const PLAIN_OF_VAULT: &[&str] = &["address", "role", "login-mount", "namespace"];

/// Keys of `[[notify]]` whose values are shown.
const PLAIN_OF_NOTIFY: &[&str] = &["kind", "url", "topic", "origins", "contact", "command"];

/// Keys of `[custody]` and its tables whose values are shown.
const PLAIN_OF_CUSTODY: &[&str] = &["master", "tcti", "module", "token-label", "label"];

/// Keys that suggest a secret wherever they stand.
const SECRET_KEYS: [&str; 9] = [
    "secret",
    "client-secret",
    "client_secret",
    "pin",
    "token",
    "password",
    "passphrase",
    "api-key",
    "key",
];

/// Whether a text names a secret rather than being one.
pub(super) fn is_reference(text: &str) -> bool {
    SCHEMES.iter().any(|scheme| {
        text.strip_prefix(scheme)
            .is_some_and(|rest| !rest.trim().is_empty())
    })
}

/// Whether a key suggests that its value is a secret, wherever it stands.
pub(super) fn is_secret_key(key: &str) -> bool {
    SECRET_KEYS.contains(&key)
}

/// The same text with everything that may be a secret replaced by `*`.
pub(super) fn without_secrets(source: &Source) -> Source {
    let mut report = Report::new();
    let document = Document::parse(source, &mut report);
    let mut spans = Vec::new();
    if !report.is_empty() {
        spans.extend(suspect_values(&source.text));
    }
    for (section, _, item) in document.root().entries() {
        let (rule, depth) = match section {
            "credentials" => (Rule::Shows(PLAIN_KEYS), Depth::Named),
            "signers" => (Rule::Shows(PLAIN_OF_SIGNERS), Depth::Named),
            "vault" => (Rule::Shows(PLAIN_OF_VAULT), Depth::Direct),
            "notify" => (Rule::Shows(PLAIN_OF_NOTIFY), Depth::Direct),
            "custody" => (Rule::Shows(PLAIN_OF_CUSTODY), Depth::Direct),
            _ => (Rule::Suspects, Depth::Direct),
        };
        match depth {
            Depth::Named if item.is_table() => {
                for (_, _, item) in entries(&item) {
                    judge(&item, &[section, ""], rule, &mut spans);
                }
            }
            Depth::Named | Depth::Direct => judge(&item, &["", section], rule, &mut spans),
        }
    }
    spans.extend(user_informations(&source.text));
    let mut text = source.text.as_bytes().to_vec();
    for span in spans {
        for byte in text.get_mut(span).into_iter().flatten() {
            if !matches!(byte, b'"' | b'\'' | b'\n' | b'\r') {
                *byte = b'*';
            }
        }
    }
    Source::new(&source.name, &String::from_utf8_lossy(&text))
}

/// Whether the tables of a section have names of the operator's.
enum Depth {
    Named,
    Direct,
}

/// Which values are shown.
#[derive(Clone, Copy)]
enum Rule {
    /// Those of these keys, and references.
    Shows(&'static [&'static str]),
    /// All but those whose keys suggest a secret.
    Suspects,
}

fn entries<'a>(item: &Item<'a>) -> Vec<(&'a str, Range<usize>, Item<'a>)> {
    let table = item.table(&mut Report::new());
    table.map(|table| table.entries()).unwrap_or_default()
}

/// Finds what is hidden of a value, whose key and the one above it are given.
fn judge(item: &Item<'_>, keys: &[&str; 2], rule: Rule, spans: &mut Vec<Range<usize>>) {
    let [above, key] = *keys;
    let is_plain = matches!(rule, Rule::Shows(plain) if plain.contains(&key));
    if item.is_table() {
        let rule = if is_plain { Rule::Suspects } else { rule };
        for (name, _, inner) in entries(item) {
            judge(&inner, &[key, name], rule, spans);
        }
    } else if item.is_list() {
        if is_plain && key.ends_with("-keys") {
            spans.extend(private_numbers(item));
        }
        for inner in item.items(&mut Report::new()) {
            judge(&inner, keys, rule, spans);
        }
    } else {
        let text = item.text(&mut Report::new());
        let hidden = match rule {
            Rule::Shows(_) => !(is_plain || key == SUBJECT && text.is_some_and(is_subject)),
            // The key of a listener is a file.
            Rule::Suspects => is_secret_key(key) && above != "tls",
        };
        if hidden && !text.is_some_and(is_reference) {
            spans.push(item.span());
        }
    }
}

/// Says in one word where the token to exchange comes from.
const SUBJECT: &str = "subject-token";

fn is_subject(word: &str) -> bool {
    [
        "secret",
        "authorization-code",
        "device",
        "client-credentials",
    ]
    .contains(&word)
}

/// What makes a JSON Web Key private, where somebody wrote one down instead of the public one.
fn private_numbers(keys: &Item<'_>) -> Vec<Range<usize>> {
    let mut report = Report::new();
    let mut spans = Vec::new();
    for key in keys.items(&mut report) {
        let members = key.table(&mut report);
        for (name, _, value) in members.map(|table| table.entries()).unwrap_or_default() {
            if ["d", "p", "q", "dp", "dq", "qi", "k"].contains(&name) {
                spans.push(value.span());
            }
        }
    }
    spans
}

/// What stands between `://` and `@`: a name and a password, in a URL that should hold none.
fn user_informations(text: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut from = 0_usize;
    for piece in text.split_inclusive("://") {
        let end_of = |piece: &str| piece.find(|c: char| "/?#\"' \t\r\n".contains(c));
        let authority = end_of(piece).map_or(piece, |end| piece.get(..end).unwrap_or(piece));
        if let Some(at) = authority.rfind('@').filter(|_| from > 0) {
            spans.push(from..from.saturating_add(at));
        }
        from = from.saturating_add(piece.len());
    }
    spans
}

/// What stands behind `secret =` and the like, inside of other values too, in a file that does not parse.
fn suspect_values(text: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    for (at, _) in text.match_indices('=') {
        let (Some(before), Some(behind)) = (text.get(..at), text.get(at.saturating_add(1)..))
        else {
            continue;
        };
        let key = before.trim_end().trim_end_matches(['"', '\'']);
        let cut = |c: char| "\n.{,[\"' \t".contains(c);
        let key = key.rsplit(cut).next().unwrap_or(key).to_lowercase();
        let value = behind.trim_start_matches([' ', '\t']);
        let begin = text.len().saturating_sub(value.len());
        let end = end_of_value(value);
        let bare = value.get(..end).unwrap_or(value);
        let bare = bare.trim_end().trim_matches(['"', '\'']);
        let suspect = SECRET_KEYS.iter().any(|word| key.ends_with(word));
        if suspect && !is_reference(bare) {
            spans.push(begin..begin.saturating_add(end));
        }
    }
    spans
}

/// Where a value ends that may be cut off: at its last quote if it begins with one, else with its line.
fn end_of_value(value: &str) -> usize {
    let line = value.find('\n').unwrap_or(value.len());
    for quote in ["\"\"\"", "'''", "\"", "'"] {
        let Some(inner) = value.strip_prefix(quote) else {
            continue;
        };
        let close = inner
            .find(quote)
            .map(|end| end.saturating_add(quote.len().saturating_mul(2)));
        let limit = if quote.len() == 3 { value.len() } else { line };
        return close.filter(|end| *end <= limit).unwrap_or(limit);
    }
    line
}
