//! HashiCorp Vault, simulated: Transit keys, secrets in KV version 2, and logging in by token and as an `AppRole`.

use std::sync::{Arc, atomic::Ordering};

use exeat_custody::{
    Outside, SecretRef, Stores, VaultClient, VaultLogin, VaultServer, signer::TransitKey,
};
use exeat_types::{FakeClock, Secret, Timestamp};

use super::{KEYS, Server, secret, way};
use crate::contract;

const TOKEN: &str = "hvs.CANARY-vault-token";
const SECRET_ID: &str = "CANARY-vault-secret-id";
const VALUE: &str = "CANARY-vault-value";

fn server() -> Server {
    let arguments = [
        "--token",
        TOKEN,
        "--role",
        "gate",
        "--secret-id",
        SECRET_ID,
        "--value",
        VALUE,
    ];
    Server::start("key_services_simulated.py", &arguments)
}

fn at(server: &Server, role: Option<&str>) -> VaultServer {
    let secret = SecretRef::Sealed("vault".to_owned());
    VaultServer {
        address: server.origin().to_string().parse().unwrap(),
        namespace: Some("team".to_owned()),
        login: match role {
            None => VaultLogin::Token(secret),
            Some(role) => VaultLogin::AppRole {
                mount: "approle".to_owned(),
                role: role.to_owned(),
                secret,
            },
        },
    }
}

fn key(server: VaultServer, name: &str) -> TransitKey {
    TransitKey {
        server,
        mount: "transit".to_owned(),
        key: name.to_owned(),
    }
}

#[test]
fn keys_in_simulated_vault_transit_keep_the_contract() {
    let server = server();
    let (loopback, outside) = way();
    for (name, algorithm) in KEYS {
        let kind = key(at(&server, Some("gate")), name);
        let signer = contract::open_outside(&kind, &[secret(SECRET_ID)], &outside).unwrap();
        contract::signs(&*signer, algorithm);
        contract::signs_at_once(&*signer, 8, 10);
        let cut = |cut| loopback.cut.store(cut, Ordering::SeqCst);
        contract::refuses_while_lost(&*signer, || cut(true), || cut(false));
        // A token that ends is replaced by logging in again.
        server.tell("expire");
        contract::signs(&*signer, algorithm);
        server.tell("rotate");
        let refused = signer.sign(b"a message").unwrap_err().to_string();
        assert_eq!(
            refused,
            "the key service answers with a signature that does not verify"
        );
    }
}

#[test]
fn a_transit_key_that_may_be_copied_or_a_wrong_login_opens_nothing() {
    let server = server();
    let (_, outside) = way();
    for (name, role, login, expect) in [
        ("loose", None, TOKEN, "the key service may hand its key out"),
        (
            "none",
            None,
            TOKEN,
            "the key service has no key of this name that we can use",
        ),
        (
            "es256",
            None,
            "hvs.CANARY-other",
            "the key service refuses to sign",
        ),
        (
            "es256",
            Some("other"),
            SECRET_ID,
            "the key service refuses to sign",
        ),
    ] {
        let kind = key(at(&server, role), name);
        let opened = contract::open_outside(&kind, &[secret(login)], &outside);
        let problem = opened.err().unwrap().to_string();
        assert_eq!(problem, format!("signer `test` cannot be opened: {expect}"));
    }
}

fn client(
    server: &Server,
    role: Option<&str>,
    login: &str,
    outside: Arc<dyn Outside>,
) -> VaultClient {
    let clock = FakeClock::at(Timestamp::from_millis(1_800_000_000_000));
    at(server, role).client(secret(login), outside, Arc::new(clock))
}

struct NoKeyring;

impl exeat_custody::Keyring for NoKeyring {
    fn read(&self, _: &str) -> Result<Option<Secret>, exeat_custody::Error> {
        Ok(None)
    }

    fn write(&self, _: &str, _: &Secret) -> Result<(), exeat_custody::Error> {
        Ok(())
    }

    fn remove(&self, _: &str) -> Result<(), exeat_custody::Error> {
        Ok(())
    }
}

fn resolve(client: &VaultClient, reference: &str) -> Result<(Secret, u32), String> {
    let stores = Stores {
        vault: None,
        keyring: &NoKeyring,
        server: Some(client),
        environment: &|_| None,
    };
    let reference: SecretRef = reference.parse().unwrap();
    reference
        .resolve(&stores)
        .map_err(|problem| problem.to_string())
}

#[test]
fn a_secret_in_simulated_vault_is_read_with_its_version_and_anything_else_is_not() {
    let server = server();
    let (loopback, outside) = way();
    for (role, login) in [(None, TOKEN), (Some("gate"), SECRET_ID)] {
        let client = client(&server, role, login, Arc::clone(&outside));
        let (found, version) = resolve(&client, "vault:secret/team/api#token").unwrap();
        assert!(found.matches(VALUE.as_bytes()));
        assert_eq!(version, 3);
        for (reference, expect) in [
            (
                "vault:secret/team/api#none",
                "cannot read `secret/team/api#none` from Vault: the server has no such thing",
            ),
            (
                "vault:secret/team/none#a",
                "cannot read `secret/team/none#a` from Vault: the server has no such thing",
            ),
            (
                "vault:secret/team/api#port",
                "cannot read `secret/team/api#port` from Vault: the server answers in an unknown form",
            ),
        ] {
            assert_eq!(resolve(&client, reference).err().unwrap(), expect);
        }
        loopback.cut.store(true, Ordering::SeqCst);
        let silent = resolve(&client, "vault:secret/team/api#token")
            .err()
            .unwrap();
        assert_eq!(
            silent,
            "cannot read `secret/team/api#token` from Vault: the server does not answer"
        );
        loopback.cut.store(false, Ordering::SeqCst);
        let again = resolve(&client, "vault:secret/team/api#token");
        assert_eq!(
            again.err().unwrap(),
            silent,
            "it is not asked twice in a row"
        );
    }
    let stranger = client(&server, None, "hvs.CANARY-other", outside);
    let refused = resolve(&stranger, "vault:secret/team/api#token")
        .err()
        .unwrap();
    assert_eq!(
        refused,
        "cannot read `secret/team/api#token` from Vault: the server refuses"
    );
}
