//! Keys in a PKCS#11 device: SoftHSM, which plays one. It reads its configuration from a variable of its process, so each
//! test runs itself again in a process that has it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    object::{Attribute, AttributeInfo, AttributeType, ObjectClass},
    session::UserType,
    types::AuthPin,
};
use exeat_custody::{
    Devices, Error, MasterKey, SecretRef,
    signer::{Pkcs11Key, Pkcs11Token},
};
use exeat_types::{Algorithm, Secret};

use crate::contract;

/// Names the folder of the device, in the process that has one.
const FOLDER: &str = "EXEAT_TEST_SOFTHSM";
const PIN: &str = "CANARY-pin-1234";
const MODULES: [&str; 2] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
];

fn module() -> &'static str {
    let there = |path: &&&str| Path::new(path).exists();
    MODULES
        .iter()
        .find(there)
        .expect("SoftHSM; `make setup` installs it")
}

/// Runs this test again in a process with a new device that has one token, and calls back there.
#[track_caller]
#[expect(
    clippy::disallowed_methods,
    reason = "the test runs itself again, and tells itself so"
)]
fn with_device(test: &str, act: impl FnOnce(&Path)) {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return act(&PathBuf::from(folder));
    }
    let home = tempfile::tempdir().unwrap();
    let tokens = home.path().join("tokens");
    fs::create_dir(&tokens).unwrap();
    let settings = home.path().join("softhsm2.conf");
    fs::write(
        &settings,
        format!(
            "directories.tokendir = {}\nlog.level = ERROR\n",
            tokens.display()
        ),
    )
    .unwrap();
    let made = Command::new("softhsm2-util")
        .args([
            "--init-token",
            "--free",
            "--label",
            "exeat",
            "--so-pin",
            "12345678",
            "--pin",
            PIN,
        ])
        .env("SOFTHSM2_CONF", &settings)
        .output()
        .expect("softhsm2-util; `make setup` installs it");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("pkcs11::{test}")])
        .env("SOFTHSM2_CONF", &settings)
        .env(FOLDER, home.path())
        .output()
        .unwrap();
    let told =
        String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && told.contains("1 passed"), "{told}");
}

fn key(label: &str) -> Pkcs11Key {
    Pkcs11Key {
        token: Pkcs11Token {
            module: module().into(),
            token: "exeat".to_owned(),
            pin: Some(SecretRef::Env("PIN".to_owned())),
        },
        key: label.to_owned(),
    }
}

fn pin() -> [Secret; 1] {
    [Secret::new(PIN.into())]
}

#[test]
fn keys_in_a_device_keep_the_contract() {
    with_device("keys_in_a_device_keep_the_contract", |folder| {
        for (label, algorithm) in [
            ("es", Algorithm::Es256),
            ("ed", Algorithm::EdDsa),
            ("rs", Algorithm::Rs256),
        ] {
            let made = contract::create(&key(label), folder, &pin(), algorithm).unwrap();
            assert!(made.keep.is_none());
            let signer = contract::open(&key(label), folder, &pin()).unwrap();
            assert!(signer.blocks());
            assert_eq!(signer.public_key(), made.signer.public_key());
            contract::signs(&*signer, algorithm);
            contract::signs_for_many(&*signer);
            let again = contract::create(&key(label), folder, &pin(), algorithm)
                .err()
                .unwrap();
            assert_eq!(
                again.to_string(),
                format!("signer `test` has a key `{label}` already")
            );
        }
        let absent = contract::open(&key("none"), folder, &pin()).err().unwrap();
        assert_eq!(
            absent.to_string(),
            "signer `test` has no key `none` in its token"
        );
    });
}

#[test]
fn a_key_of_a_device_cannot_be_read_and_one_that_could_is_refused() {
    with_device(
        "a_key_of_a_device_cannot_be_read_and_one_that_could_is_refused",
        |folder| {
            contract::create(&key("ours"), folder, &pin(), Algorithm::Es256).unwrap();
            let device = Pkcs11::new(module()).unwrap();
            drop(device.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)));
            let slot = device.get_slots_with_initialized_token().unwrap()[0];
            let session = device.open_rw_session(slot).unwrap();
            drop(session.login(UserType::User, Some(&AuthPin::new(PIN.into()))));
            let wanted = [
                Attribute::Class(ObjectClass::PRIVATE_KEY),
                Attribute::Label("ours".into()),
            ];
            let [ours] = session.find_objects(&wanted).unwrap()[..] else {
                panic!("one key");
            };
            let value = session
                .get_attribute_info(ours, &[AttributeType::Value])
                .unwrap();
            assert!(matches!(value[..], [AttributeInfo::Sensitive]), "{value:?}");
            let read = session
                .get_attributes(ours, &[AttributeType::Value])
                .unwrap_or_default();
            assert!(
                !read
                    .iter()
                    .any(|one| matches!(one, Attribute::Value(bytes) if !bytes.is_empty()))
            );
            for weaker in [Attribute::Extractable(true), Attribute::Sensitive(false)] {
                assert!(
                    session
                        .update_attributes(ours, std::slice::from_ref(&weaker))
                        .is_err(),
                    "{weaker:?}"
                );
            }
            drop(session);
            let settings = [
                "--module",
                module(),
                "--login",
                "--pin",
                PIN,
                "--token-label",
                "exeat",
            ];
            let made = Command::new("pkcs11-tool")
                .args(settings)
                .args([
                    "--keypairgen",
                    "--key-type",
                    "EC:prime256v1",
                    "--label",
                    "loose",
                    "--extractable",
                ])
                .output()
                .expect("pkcs11-tool; `make setup` installs it");
            assert!(
                made.status.success(),
                "{}",
                String::from_utf8_lossy(&made.stderr)
            );
            let loose = contract::open(&key("loose"), folder, &pin()).err().unwrap();
            assert_eq!(
                loose.to_string(),
                "signer `test` has a key that can be copied out of the device"
            );
        },
    );
}

#[test]
fn a_device_that_is_lost_in_use_refuses_until_it_is_back() {
    with_device(
        "a_device_that_is_lost_in_use_refuses_until_it_is_back",
        |folder| {
            contract::create(&key("es"), folder, &pin(), Algorithm::Es256).unwrap();
            let signer = contract::open(&key("es"), folder, &pin()).unwrap();
            let (tokens, away) = (folder.join("tokens"), folder.join("away"));
            contract::refuses_while_lost(
                &*signer,
                || fs::rename(&tokens, &away).unwrap(),
                || fs::rename(&away, &tokens).unwrap(),
            );
        },
    );
}

#[test]
fn somebody_logging_out_is_no_loss_and_another_key_of_the_label_never_signs() {
    with_device(
        "somebody_logging_out_is_no_loss_and_another_key_of_the_label_never_signs",
        |folder| {
            contract::create(&key("es"), folder, &pin(), Algorithm::Es256).unwrap();
            let signer = contract::open(&key("es"), folder, &pin()).unwrap();
            contract::signs(&*signer, Algorithm::Es256);
            let device = Pkcs11::new(module()).unwrap();
            let slot = device.get_slots_with_initialized_token().unwrap()[0];
            let session = device.open_rw_session(slot).unwrap();
            session.logout().unwrap();
            contract::signs(&*signer, Algorithm::Es256);
            for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
                let wanted = [Attribute::Class(class), Attribute::Label("es".into())];
                for object in session.find_objects(&wanted).unwrap() {
                    session.destroy_object(object).unwrap();
                }
            }
            assert!(signer.sign(b"a message").is_err());
            contract::create(&key("es"), folder, &pin(), Algorithm::Es256).unwrap();
            let refused = signer.sign(b"a message").unwrap_err();
            assert_eq!(refused.to_string(), "the device has another key now");
        },
    );
}

#[test]
fn a_token_keeps_the_master_key() {
    with_device("a_token_keeps_the_master_key", |folder| {
        let (path, devices) = (folder.join("master.pkcs11.json"), Devices::default());
        let [pin] = pin();
        let master = MasterKey::generate().unwrap();
        let wrapping = key("wrapping");
        master
            .keep_in_token(&path, &wrapping, Some(&pin), &devices)
            .unwrap();
        let read = MasterKey::from_token(&path, &wrapping, Some(&pin), &devices).unwrap();
        assert_eq!(read.fingerprint(), master.fingerprint());
        assert!(
            master
                .keep_in_token(&path, &wrapping, Some(&pin), &devices)
                .is_err(),
            "never replaced"
        );
        let other = folder.join("other.json");
        MasterKey::generate()
            .unwrap()
            .keep_in_token(&other, &wrapping, Some(&pin), &devices)
            .unwrap();
        let text = fs::read_to_string(&path).unwrap();
        for changed in [
            text.replace(&master.fingerprint(), "0123456789abcdef"),
            text.replace("\"format\": 1", "\"format\": 2"),
            text.replace("\"wrapped\": \"", "\"wrapped\": \"AAAA"),
            String::new(),
        ] {
            fs::write(&path, &changed).unwrap();
            let refused = MasterKey::from_token(&path, &wrapping, Some(&pin), &devices);
            assert!(refused.is_err(), "{changed}");
        }
        fs::write(&path, &text).unwrap();
        let wrong = Secret::new(b"CANARY-wrong-pin".to_vec());
        // A login is of the whole process, so a wrong PIN is seen once nobody is logged in.
        let refused =
            MasterKey::from_token(&path, &key("another"), Some(&wrong), &devices).unwrap_err();
        assert!(
            refused.to_string().starts_with("signer `master key`"),
            "{refused}"
        );
        let refused = MasterKey::from_token(&path, &key("none"), Some(&pin), &devices).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "signer `master key` has no key `none` in its token"
        );
    });
}

#[test]
fn a_pin_that_was_refused_is_tried_by_no_other_signer_of_the_token() {
    let test = "a_pin_that_was_refused_is_tried_by_no_other_signer_of_the_token";
    with_device(test, |folder| {
        let wrong = [Secret::new(b"CANARY-wrong-pin".to_vec())];
        let devices = Devices::default();
        let opened = |label: &str, pin: &[Secret], devices: &Devices| {
            let opened = contract::open_again(&key(label), folder, pin, devices);
            opened.err().unwrap().to_string()
        };
        let refused =
            "signer `test` has a PIN that its device refuses; it is not tried again".to_owned();
        assert_eq!(opened("es", &wrong, &devices), refused);
        {
            let device = Pkcs11::new(module()).unwrap();
            device
                .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
                .ok();
            let slot = device.get_slots_with_initialized_token().unwrap()[0];
            let session = device.open_rw_session(slot).unwrap();
            let pins = [PIN, "CANARY-wrong-pin"].map(|pin| AuthPin::new(pin.into()));
            session.login(UserType::User, Some(&pins[0])).unwrap();
            session.set_pin(&pins[0], &pins[1]).unwrap();
            session.logout().unwrap();
        }
        // It would be right by now, and that shows that nobody tries it.
        assert_eq!(opened("other", &wrong, &devices), refused);
        let fresh = Devices::default();
        assert_eq!(
            opened("other", &wrong, &fresh),
            "signer `test` has no key `other` in its token"
        );
    });
}

#[test]
fn a_wrong_pin_is_said_and_a_wrong_token_too() {
    with_device("a_wrong_pin_is_said_and_a_wrong_token_too", |folder| {
        let wrong = [Secret::new(b"CANARY-wrong-pin".to_vec())];
        let refused = contract::open(&key("es"), folder, &wrong).err().unwrap();
        assert!(matches!(refused, Error::WrongPin { .. }), "{refused}");
        assert!(!format!("{refused:?}").contains("CANARY"));
        let mut other = key("es");
        other.token.token = "other".to_owned();
        let refused = contract::open(&other, folder, &pin()).err().unwrap();
        assert_eq!(
            refused.to_string(),
            "signer `test` has no token `other` in its device"
        );
        other.token.module = "/nonexistent/module.so".into();
        let refused = contract::open(&other, folder, &pin()).err().unwrap();
        assert!(
            refused.to_string().contains("/nonexistent/module.so"),
            "{refused}"
        );
    });
}
