//! What may not be linked: a second TLS stack, or a second provider for rustls. OpenSSL itself comes with josekit, which is handed
//! no key.

use std::{fs, path::Path};

use anyhow::Context as _;

/// Packages that must not appear in a lock file.
const BANNED: [&str; 5] = [
    "aws-lc-rs",
    "aws-lc-sys",
    "native-tls",
    "boring-sys",
    "tokio-openssl",
];

/// Every banned package, and every package that does not come from crates.io.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    for name in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let path = root.join(name);
        if !path.exists() {
            continue;
        }
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        problems.extend(check_text(name, &text));
    }
    Ok(problems)
}

fn check_text(name: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for line in text.lines() {
        let quoted = |key: &str| line.strip_prefix(key).map(|rest| rest.trim_matches('"'));
        if let Some(package) = quoted("name = ").filter(|package| BANNED.contains(package)) {
            problems.push(format!("{name}: `{package}` is banned"));
        }
        let index = "registry+https://github.com/rust-lang/crates.io-index";
        if let Some(source) = quoted("source = ").filter(|source| *source != index) {
            problems.push(format!("{name}: a package comes from `{source}`"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_files_have_one_tls_stack_and_one_registry() {
        assert_eq!(check(&crate::root()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_banned_package_is_found() {
        let text = "name = \"native-tls\"\nsource = \"git+https://example.com/x\"\n";
        assert_eq!(check_text("a", text).len(), 2);
    }
}
