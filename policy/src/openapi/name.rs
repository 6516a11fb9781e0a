//! Names: of tools, files and APIs, made from what a description calls things.

use std::collections::BTreeSet;

use exeat_types::{Origin, ToolName};

/// The name of a tool inside its API: `issues/create` becomes `issues.create`.
pub(super) fn tool_name(operation_id: &str) -> Option<String> {
    let parts: Vec<String> = operation_id
        .split(['/', '.', ':', '#'])
        .map(part)
        .filter(|part| !part.is_empty())
        .collect();
    let joined = if parts.len() > 7 {
        parts.join("-")
    } else {
        parts.join(".")
    };
    let shortened: String = joined.chars().take(90).collect();
    let name = shortened.trim_end_matches(['.', '-', '_']).to_owned();
    ToolName::new(&name).is_ok().then_some(name)
}

fn part(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let mapped: String = text
        .chars()
        .map(|c| if plain(c) { c } else { '-' })
        .collect();
    mapped.trim_matches(['-', '_']).to_owned()
}

/// A name for an operation that has none: `GET /repos/{owner}` becomes `get-repos-owner`.
pub(super) fn name_from_request(method: &str, path: &str) -> String {
    let words = path
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let mut name = method.to_ascii_lowercase();
    for word in words {
        name.push('-');
        name.push_str(word);
    }
    name.chars().take(90).collect()
}

/// The name, with a number behind it if it is taken.
pub(super) fn unique(name: &str, taken: &mut BTreeSet<String>) -> String {
    let mut chosen = name.to_owned();
    let mut number = 2_usize;
    while !taken.insert(chosen.clone()) {
        chosen = format!("{name}-{number}");
        number = number.saturating_add(1);
    }
    chosen
}

/// A word for a file name or an API: lower-case letters, digits and `-`.
pub(super) fn slug(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let words = lower
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    words
        .collect::<Vec<_>>()
        .join("-")
        .chars()
        .take(40)
        .collect()
}

/// A name for a definition, from what a schema is called.
pub(super) fn definition_name(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.chars()
        .map(|c| if plain(c) { c } else { '-' })
        .collect()
}

/// What an API is called when nobody says: the name its host is registered under, or its title.
pub(super) fn api_name(origin: &Origin, title: &str) -> String {
    let host = origin.host.name().unwrap_or_default();
    let labels: Vec<&str> = host.split('.').collect();
    let registered = labels
        .len()
        .checked_sub(2)
        .and_then(|index| labels.get(index));
    let named = slug(registered.copied().unwrap_or_default());
    let titled = slug(title);
    match (named.is_empty(), titled.is_empty()) {
        (false, _) => named,
        (true, false) => titled,
        (true, true) => "api".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operation_ids_become_tool_names() {
        let name = |id| tool_name(id).unwrap_or_default();
        assert_eq!(name("issues/create"), "issues.create");
        assert_eq!(name("GetChargesCharge"), "GetChargesCharge");
        assert_eq!(name("users list (all)"), "users-list--all");
        assert_eq!(name("Users::list"), "Users.list");
        assert_eq!(name("///"), "");
        assert!(name(&"long/".repeat(60)).len() <= 90);
    }

    #[test]
    fn an_api_is_named_after_its_host_or_title() {
        let name = |origin: &str, title| api_name(&Origin::parse(origin).unwrap(), title);
        assert_eq!(name("https://api.github.com", "x"), "github");
        assert_eq!(name("https://localhost:4010", "Pet Store!"), "pet-store");
        assert_eq!(name("https://192.0.2.1", ""), "api");
    }

    #[test]
    fn a_taken_name_gets_a_number() {
        let mut taken = BTreeSet::new();
        let names: Vec<String> = (0..3).map(|_| unique("a", &mut taken)).collect();
        assert_eq!(names, ["a", "a-2", "a-3"]);
    }
}
