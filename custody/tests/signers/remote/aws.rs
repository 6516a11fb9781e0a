//! AWS KMS, as moto: it checks the signatures of requests, and its keys are P-256 and RSA.

use exeat_custody::{
    SecretRef,
    signer::{AwsKmsKey, verifies},
};
use exeat_types::Algorithm;

use super::{Server, secret, way};
use crate::contract;

const ID: &str = "AKIDGATE";
const SECRET: &str = "CANARY-aws-kms-secret";

fn server() -> Server {
    Server::start("aws_server.py", &["--id", ID, "--secret", SECRET])
}

fn key(server: &Server, name: &str) -> AwsKmsKey {
    AwsKmsKey {
        origin: server.origin(),
        region: "us-east-1".to_owned(),
        key: name.to_owned(),
        access_key_id: Some(ID.to_owned()),
        secret: SecretRef::Sealed("aws".to_owned()),
    }
}

#[test]
fn keys_in_aws_kms_sign_for_many_and_refuse_while_lost() {
    let server = server();
    let (loopback, outside) = way();
    for (name, algorithm) in [
        ("alias/exeat", Algorithm::Es256),
        ("alias/exeat-rsa", Algorithm::Rs256),
    ] {
        let kind = key(&server, name);
        let signer = contract::open_outside(&kind, &[secret(SECRET)], &outside).unwrap();
        assert!(signer.blocks());
        assert_eq!(signer.algorithm(), algorithm);
        contract::signs_at_once(&*signer, 4, 5);
        loopback
            .cut
            .store(true, std::sync::atomic::Ordering::SeqCst);
        let lost = signer.sign(b"a message").unwrap_err();
        assert_eq!(lost.to_string(), "the key service does not answer");
        loopback
            .cut
            .store(false, std::sync::atomic::Ordering::SeqCst);
        let signature = signer.sign(b"a message").unwrap();
        assert!(verifies(
            algorithm,
            signer.public_key(),
            b"a message",
            &signature
        ));
        // Moto hashes a digest a second time (KMS does not), so what it signs is no signature of the message.
        let long = signer.sign(&[b'x'; 5000]);
        let twice = "the key service answers with a signature that does not verify";
        assert_eq!(long.unwrap_err().to_string(), twice);
    }
}

#[test]
fn a_wrong_secret_or_an_unknown_key_opens_nothing() {
    let server = server();
    let (_, outside) = way();
    for (name, secret_key, expect) in [
        (
            "alias/exeat",
            "CANARY-another-secret",
            "the key service refuses to sign",
        ),
        ("alias/none", SECRET, "the key service refuses to sign"),
    ] {
        let opened = contract::open_outside(&key(&server, name), &[secret(secret_key)], &outside);
        let problem = opened.err().unwrap().to_string();
        assert_eq!(
            problem,
            format!("signer `test` cannot be opened: {expect}"),
            "{name}"
        );
    }
    let without = contract::open(
        &key(&server, "a"),
        std::path::Path::new(""),
        &[secret(SECRET)],
    );
    assert_eq!(
        without.err().unwrap().to_string(),
        "signer `test` lies in a service, which only a running gate asks"
    );
}
