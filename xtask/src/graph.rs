//! Who may depend on whom, and which crate alone may use which dependency. The table is docs/ARCHITECTURE.md's.

use std::path::Path;

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// Each crate and the crates of ours that it may use. Tests may use any.
const EDGES: [(&str, &[&str]); 13] = [
    ("exeat-types", &[]),
    ("exeat-policy", &["exeat-types"]),
    ("exeat-custody", &["exeat-types"]),
    ("exeat-ledger", &["exeat-types"]),
    ("exeat-ca", &["exeat-types"]),
    ("exeat-sandbox", &["exeat-types"]),
    (
        "exeat-pipeline",
        &[
            "exeat-types",
            "exeat-policy",
            "exeat-custody",
            "exeat-ledger",
        ],
    ),
    (
        "exeat-proxy",
        &["exeat-types", "exeat-ca", "exeat-pipeline"],
    ),
    (
        "exeat-console",
        &[
            "exeat-types",
            "exeat-policy",
            "exeat-ledger",
            "exeat-pipeline",
        ],
    ),
    ("exeat-prove", &["exeat-types", "exeat-policy"]),
    (
        "exeat",
        &[
            "exeat-types",
            "exeat-policy",
            "exeat-custody",
            "exeat-ledger",
            "exeat-ca",
            "exeat-sandbox",
            "exeat-pipeline",
            "exeat-proxy",
            "exeat-console",
        ],
    ),
    (
        "exeat-bench",
        &[
            "exeat-types",
            "exeat-policy",
            "exeat-custody",
            "exeat-ledger",
            "exeat-ca",
            "exeat-pipeline",
            "exeat-proxy",
        ],
    ),
    ("xtask", &["exeat-types"]),
];

/// Each dependency that belongs to few, and to whom.
const OWNERS: [(&str, &[&str]); 42] = [
    ("zeroize", &["exeat-types", "exeat-custody"]),
    ("cedar-policy", &["exeat-policy", "exeat-prove"]),
    ("cedar-policy-symcc", &["exeat-prove"]),
    ("jiff", &["exeat-policy"]),
    ("ciborium", &["exeat-ledger"]),
    ("axum", &["exeat-console"]),
    ("maud", &["exeat-console"]),
    ("qrcode", &["exeat-console"]),
    ("utoipa", &["exeat-console"]),
    ("utoipa-axum", &["exeat-console"]),
    ("zbus", &["exeat-console"]),
    ("jsonschema", &["exeat-policy"]),
    ("matchit", &["exeat-policy"]),
    ("keyring", &["exeat-custody"]),
    ("argon2", &["exeat-custody"]),
    ("josekit", &["exeat-custody"]),
    ("oauth2", &["exeat-custody"]),
    ("cryptoki", &["exeat-custody"]),
    ("tss-esapi", &["exeat-custody"]),
    ("aws-sigv4", &["exeat-custody"]),
    ("aws-credential-types", &["exeat-custody"]),
    ("apollo-parser", &["exeat-policy"]),
    ("aho-corasick", &["exeat-custody"]),
    ("regex", &["exeat-custody"]),
    ("redb", &["exeat-ledger"]),
    // The demo and the benchmarks make certificates for the upstreams they play.
    ("rcgen", &["exeat-ca", "exeat-bench"]),
    ("rustls-native-certs", &["exeat-ca"]),
    ("yasna", &["exeat-ca"]),
    ("landlock", &["exeat-sandbox"]),
    ("seccompiler", &["exeat-sandbox"]),
    ("pingora", &["exeat-proxy", "exeat-bench"]),
    ("httparse", &["exeat-proxy"]),
    (
        "tokio-rustls",
        &[
            "exeat-proxy",
            "exeat-pipeline",
            "exeat-console",
            "exeat",
            "exeat-bench",
        ],
    ),
    // The pipeline's own upstream lane; the console; the metrics endpoint and the demo's upstream.
    (
        "hyper",
        &["exeat-pipeline", "exeat-console", "exeat", "exeat-bench"],
    ),
    (
        "hyper-util",
        &["exeat-pipeline", "exeat-console", "exeat", "exeat-bench"],
    ),
    ("clap", &["exeat", "exeat-bench"]),
    ("clap_complete", &["exeat"]),
    ("notify", &["exeat"]),
    ("socket2", &["exeat"]),
    ("tracing-subscriber", &["exeat"]),
    ("anyhow", &["exeat", "exeat-bench", "exeat-prove", "xtask"]),
    ("cargo_metadata", &["xtask"]),
];

/// Every edge and every owner that the tables do not know.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<String>> {
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .other_options(["--offline".to_owned()])
        .exec()?;
    let mut problems = Vec::new();
    for package in metadata.workspace_packages() {
        check_package(package, &mut problems);
    }
    Ok(problems)
}

fn check_package(package: &Package, problems: &mut Vec<String>) {
    let name = package.name.as_str();
    let Some((_, allowed)) = EDGES.iter().find(|(known, _)| *known == name) else {
        problems.push(format!("crate `{name}` is not in xtask/src/graph.rs"));
        return;
    };
    for dependency in package
        .dependencies
        .iter()
        .filter(|one| one.kind != DependencyKind::Development)
    {
        let used = dependency.name.as_str();
        if dependency.path.is_some() && !allowed.contains(&used) {
            problems.push(format!("crate `{name}` may not depend on `{used}`"));
        }
        let owner = OWNERS.iter().find(|(known, _)| *known == used);
        if owner.is_some_and(|(_, owners)| !owners.contains(&name)) {
            problems.push(format!(
                "dependency `{used}` does not belong in crate `{name}`"
            ));
        }
        if dependency.path.is_none()
            && dependency
                .source
                .as_ref()
                .is_some_and(|source| !source.is_crates_io())
        {
            problems.push(format!(
                "dependency `{used}` of `{name}` comes from elsewhere than crates.io"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_edge_between_crates_is_allowed_and_every_dependency_has_its_owner() {
        assert_eq!(check(&crate::root()).unwrap(), Vec::<String>::new());
    }
}
