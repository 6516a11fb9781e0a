//! Google Cloud KMS, simulated: it checks the JWT of the service account.

use std::{fs, sync::atomic::Ordering};

use exeat_custody::{
    SecretRef, SoftwareSigner,
    signer::{GcpKmsKey, public_pem},
};
use exeat_types::{Algorithm, Secret};

use super::{KEYS, Server, secret, way};
use crate::contract;

/// A service account: its key file, and its public key.
fn account() -> (Secret, String) {
    let key = SoftwareSigner::new_key(Algorithm::Rs256).unwrap();
    let signer = SoftwareSigner::from_key(&key).unwrap();
    let file = serde_json::json!({
        "type": "service_account", "client_email": "gate@project.iam.gserviceaccount.com",
        "private_key_id": "k1", "private_key": pem(&key), "token_uri": "https://oauth2.googleapis.com/token",
    });
    (secret(&file.to_string()), public_pem(&signer))
}

#[expect(clippy::disallowed_methods, reason = "the key goes into a key file")]
fn pem(key: &Secret) -> String {
    let text = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, key.open());
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}

fn key(server: &Server, name: &str) -> GcpKmsKey {
    let version =
        format!("projects/p/locations/l/keyRings/r/cryptoKeys/{name}/cryptoKeyVersions/1");
    assert!(GcpKmsKey::is_version(&version));
    GcpKmsKey {
        origin: server.origin(),
        version,
        secret: SecretRef::Sealed("gcp".to_owned()),
    }
}

#[test]
fn keys_in_simulated_gcp_kms_keep_the_contract() {
    let (file, public) = account();
    let folder = tempfile::tempdir().unwrap();
    let pem = folder.path().join("account.pem");
    fs::write(&pem, public).unwrap();
    let server = Server::start(
        "key_services_simulated.py",
        &["--account", pem.to_str().unwrap()],
    );
    let (loopback, outside) = way();
    for (name, algorithm) in KEYS {
        let kind = key(&server, name);
        let signer = contract::open_outside(&kind, &[file.duplicate()], &outside).unwrap();
        contract::signs(&*signer, algorithm);
        contract::signs_at_once(&*signer, 8, 10);
        let cut = |cut| loopback.cut.store(cut, Ordering::SeqCst);
        contract::refuses_while_lost(&*signer, || cut(true), || cut(false));
        // Another key under the same name is another key.
        server.tell("rotate");
        let refused = signer.sign(b"a message").unwrap_err().to_string();
        assert_eq!(
            refused,
            "the key service answers with a signature that does not verify"
        );
    }
    let (other, _) = account();
    for (name, file, expect) in [
        ("es256", &other, "the key service refuses to sign"),
        (
            "none",
            &file,
            "the key service has no key of this name that we can use",
        ),
    ] {
        let opened = contract::open_outside(&key(&server, name), &[file.duplicate()], &outside);
        let problem = opened.err().unwrap().to_string();
        assert_eq!(problem, format!("signer `test` cannot be opened: {expect}"));
    }
    for wrong in [
        "",
        "projects/p",
        "projects/p/locations/l/keyRings/r/cryptoKeys/../cryptoKeyVersions/1/x",
    ] {
        assert!(!GcpKmsKey::is_version(wrong), "{wrong}");
    }
}
