//! What every file of the repository has to look like.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// Longest source file, without its tests.
const LINES_MAX: usize = 400;

/// Folders that are made, not written.
const MADE: [&str; 7] = [
    ".git",
    "target",
    "node_modules",
    "artifacts",
    "coverage",
    "corpus",
    "__pycache__",
];

/// Where a secret may be opened. The two below custody hold none of its secrets: the authority's own root key, and the
/// plaintext of captures, come back from a sealer as `Secret`.
const MAY_OPEN: [&str; 7] = [
    "custody/",
    "pipeline/src/inject.rs",
    "pipeline/src/outbound.rs",
    "pipeline/src/tls.rs",
    "types/src/secret.rs",
    "ca/src/key.rs",
    "ledger/src/capture.rs",
];

/// Paths that exist on one machine only. They are written in two parts, as this file is checked too.
const MACHINE_PATHS: [&str; 4] = [
    concat!("/wo", "rk/"),
    concat!("/root/", "."),
    concat!("/tmp/", "briefs"),
    concat!("/Users", "/"),
];

/// Every problem of every file.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    for path in walk(root)? {
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        // What is not text (a fixture, an image) has no style.
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        let name = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .display()
            .to_string();
        let found = check_text(&name, &text);
        problems.extend(
            found
                .into_iter()
                .map(|problem| format!("{name}: {problem}")),
        );
    }
    Ok(problems)
}

fn check_text(name: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if name.ends_with(".rs") {
        problems.extend(check_source(name, text));
    }
    let ascii = [".rs", ".toml", ".cedar", ".py", ".mjs", ".sh"]
        .iter()
        .any(|end| name.ends_with(end));
    if ascii && let Some(line) = text.lines().position(|line| !line.is_ascii()) {
        problems.push(format!("line {} is not ASCII", line.saturating_add(1)));
    }
    for path in MACHINE_PATHS {
        if text.contains(path) {
            problems.push(format!("`{path}` is a path of one machine"));
        }
    }
    if name.ends_with("package-lock.json") && text.contains("\"resolved\"") {
        problems
            .push("it names a registry; make it with `omit-lockfile-registry-resolved`".to_owned());
    }
    if name.ends_with("requirements.txt") && text.contains("index-url") {
        problems.push("it names a registry".to_owned());
    }
    let crate_manifest = name.ends_with("Cargo.toml")
        && name.matches('/').count() == 1
        && !name.starts_with("fuzz/");
    if crate_manifest && !text.contains("[lints]\nworkspace = true\n") {
        problems.push("it lacks `[lints] workspace = true`".to_owned());
    }
    problems
}

fn check_source(name: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if !text.starts_with("//!") && !text.starts_with("#![") {
        problems.push("it does not begin with `//!` that says what it owns".to_owned());
    }
    let own = text
        .split("\n#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    let lines = own.lines().count();
    if lines > LINES_MAX && !is_test(name) {
        problems.push(format!("{lines} lines; split it at {LINES_MAX}"));
    }
    for (index, line) in text.lines().enumerate() {
        let todo = concat!("TO", "DO");
        if line.contains(todo) && !line.contains(&format!("{todo}(#")) {
            problems.push(format!(
                "line {}: an open end without an issue",
                index.saturating_add(1)
            ));
        }
    }
    let opens =
        own.contains(concat!(".op", "en()")) && own.contains(concat!("disallowed", "_methods"));
    if opens && !is_test(name) && !MAY_OPEN.iter().any(|place| name.starts_with(place)) {
        problems.push("a secret is opened only in custody/ and pipeline/src/inject.rs".to_owned());
    }
    problems
}

fn is_test(name: &str) -> bool {
    name.contains("/tests/") || name.ends_with("/tests.rs") || name.ends_with("_tests.rs")
}

fn walk(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            let made = MADE.iter().any(|name| entry.file_name() == *name);
            if kind.is_dir() && !made {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_as_it_should_be() {
        assert_eq!(check(&crate::root()).unwrap(), Vec::<String>::new());
    }

    #[track_caller]
    fn finds(name: &str, text: &str, what: &str) {
        let problems = check_text(name, text);
        assert!(
            problems.len() == 1 && problems[0].contains(what),
            "{problems:?}"
        );
    }

    #[test]
    fn each_kind_of_problem_is_found() {
        assert!(check_text("a/src/b.rs", "//! Owns b.\n").is_empty());
        finds("a/src/b.rs", "fn b() {}\n", "does not begin");
        finds(
            "a/src/b.rs",
            &format!("//! b\n{}", "fn b() {}\n".repeat(400)),
            "401 lines",
        );
        finds("a/src/b.rs", "//! \u{2014}\n", "not ASCII");
        finds("a/src/b.rs", concat!("//! TO", "DO later\n"), "open end");
        finds("docs/a.md", concat!("see /wo", "rk/x\n"), "one machine");
        finds("a/Cargo.toml", "[package]\n", "lints");
        finds(
            "tests/real/package-lock.json",
            "\"resolved\": 1",
            "registry",
        );
        let opened = concat!(
            "//! b\n#[expect(clippy::disallowed",
            "_methods)]\nfn b(s: Secret) { s.op",
            "en(); }\n"
        );
        finds("proxy/src/b.rs", opened, "only in custody");
        assert!(check_text("custody/src/b.rs", opened).is_empty());
    }
}
