//! Keys in memory, new ones and those that openssl and ssh-keygen made.

use std::{path::Path, process::Command};

use exeat_custody::{
    SecretRef, SoftwareKey, SoftwareSigner,
    signer::{public_pem, public_ssh},
};
use exeat_types::{Algorithm, Secret};

use crate::contract;

fn sealed() -> SoftwareKey {
    SoftwareKey {
        key: SecretRef::Sealed("signers/test".to_owned()),
    }
}

#[test]
fn keys_in_memory_keep_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256] {
        let made = contract::create(&sealed(), folder.path(), &[], algorithm).unwrap();
        let (name, key) = made.keep.unwrap();
        assert_eq!(name, "signers/test");
        let signer = contract::open(&sealed(), folder.path(), std::slice::from_ref(&key)).unwrap();
        assert_eq!(signer.public_key(), made.signer.public_key());
        assert!(!signer.blocks());
        contract::signs(&*signer, algorithm);
        contract::signs_for_many(&*signer);
        let again = contract::create(&sealed(), folder.path(), &[key], algorithm)
            .err()
            .unwrap();
        assert_eq!(again.to_string(), "signer `test` has a key already");
    }
    let elsewhere = SoftwareKey {
        key: SecretRef::Env("KEY".to_owned()),
    };
    let refused = contract::create(&elsewhere, folder.path(), &[], Algorithm::Es256)
        .err()
        .unwrap();
    assert!(
        refused
            .to_string()
            .ends_with("a store that Exeat does not write to"),
        "{refused}"
    );
}

/// What a program prints.
#[track_caller]
fn printed(program: &str, arguments: &[&str], folder: &Path) -> Vec<u8> {
    let ran = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
    ran.stdout
}

#[test]
fn keys_that_others_made_are_read_in_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let openssl = |arguments: &str| {
        let words: Vec<&str> = arguments.split(' ').collect();
        printed("openssl", &words, folder.path())
    };
    openssl("genpkey -algorithm ed25519 -out ed");
    openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec");
    openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa");
    for (name, algorithm, form) in [
        ("ed", Algorithm::EdDsa, "pkey -in ed"),
        ("ed", Algorithm::EdDsa, "pkey -in ed -outform DER"),
        ("ec", Algorithm::Es256, "pkey -in ec"),
        ("ec", Algorithm::Es256, "pkey -in ec -outform DER"),
        ("ec", Algorithm::Es256, "ec -in ec"),
        ("ec", Algorithm::Es256, "ec -in ec -outform DER"),
        ("rsa", Algorithm::Rs256, "pkey -in rsa"),
        ("rsa", Algorithm::Rs256, "rsa -in rsa -traditional"),
        (
            "rsa",
            Algorithm::Rs256,
            "rsa -in rsa -traditional -outform DER",
        ),
    ] {
        let signer = SoftwareSigner::from_key(&Secret::new(openssl(form)))
            .unwrap_or_else(|problem| panic!("{form}: {problem}"));
        contract::signs(&signer, algorithm);
        let theirs = openssl(&format!("pkey -in {name} -pubout"));
        assert_eq!(
            format!("{}\n", public_pem(&signer)).as_bytes(),
            theirs,
            "{form}"
        );
        std::fs::write(folder.path().join("pub.pem"), theirs).unwrap();
        let shown = public_ssh(&signer);
        std::fs::write(folder.path().join("pub.ssh"), &shown).unwrap();
        if algorithm != Algorithm::EdDsa {
            let theirs = printed(
                "ssh-keygen",
                &["-i", "-m", "PKCS8", "-f", "pub.pem"],
                folder.path(),
            );
            assert_eq!(format!("{shown}\n").as_bytes(), theirs, "{form}");
        }
        printed("ssh-keygen", &["-l", "-f", "pub.ssh"], folder.path());
    }
    for unfit in [
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384",
        "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024",
        "genpkey -algorithm x25519",
        "ec -in ec -aes128 -passout pass:CANARY-passphrase",
        "ec -in ec -no_public",
        "ec -in ec -pubout",
    ] {
        let problem = SoftwareSigner::from_key(&Secret::new(openssl(unfit))).unwrap_err();
        assert!(problem.starts_with("has a key"), "{unfit}: {problem}");
    }
}
