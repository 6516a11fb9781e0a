//! Reads a HashiCorp Vault server: `[vault]`, and the signers whose keys lie in its Transit engine.

use exeat_custody::{Url, VaultLogin, VaultServer};
use exeat_types::{Report, config::Table};

use super::{raw::text, signers::reference};

/// Where an `AppRole` logs in, unless the file says otherwise.
const APP_ROLE: &str = "approle";

/// Reads `address`, `namespace`, and `secret` with or without `role`.
pub(super) fn server(table: &Table<'_>, report: &mut Report) -> Option<VaultServer> {
    let address = table
        .need("address", report)
        .and_then(|item| item.parse::<Url>(report));
    let secret = table
        .need("secret", report)
        .and_then(|item| reference(&item, report));
    let namespace = text(table, "namespace", report);
    let mount = text(table, "login-mount", report);
    let login = match text(table, "role", report) {
        None => VaultLogin::Token(secret?),
        Some(role) => VaultLogin::AppRole {
            mount: mount.unwrap_or_else(|| APP_ROLE.to_owned()),
            role,
            secret: secret?,
        },
    };
    Some(VaultServer {
        address: address?,
        namespace,
        login,
    })
}
