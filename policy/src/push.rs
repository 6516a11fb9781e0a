//! What a git push asks for, as arguments that rules can read: `context.args.git`.

use exeat_types::Malformed;
use serde_json::{Value, json};

use crate::git::{Kind, parse_push};

/// The arguments of a `git-receive-pack` body.
///
/// # Errors
/// When the body is not a push that can be read completely.
pub(crate) fn arguments(body: &[u8]) -> Result<Value, Malformed> {
    let push = parse_push(body)?;
    let refs: Vec<&str> = push
        .updates
        .iter()
        .map(|update| update.name.as_str())
        .collect();
    let under = |prefix: &str| {
        refs.iter()
            .filter_map(|name| name.strip_prefix(prefix))
            .collect::<Vec<_>>()
    };
    let mut kinds: Vec<&str> = push
        .updates
        .iter()
        .map(|update| update.kind.name())
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    let any = |kind: Kind| push.updates.iter().any(|update| update.kind == kind);
    Ok(json!({
        "branches": under("refs/heads/"),
        "tags": under("refs/tags/"),
        "deletes": any(Kind::Delete),
        "force": any(Kind::Force),
        "kinds": kinds,
        "refs": refs,
    }))
}
