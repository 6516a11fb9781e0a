//! The keyring of the operating system: a real gnome-keyring on a session bus of its own.

use std::process::Command;

use exeat_custody::{Error, Keyring as _, MasterKey, OsKeyring};
use exeat_types::Secret;

/// Set in the process that runs on the bus.
const ON_THE_BUS: &str = "EXEAT_TEST_KEYRING";
const UNLOCK_AND_RUN: &str = "printf pw | gnome-keyring-daemon --unlock --components=secrets >/dev/null && exec \"$0\" --exact \"$1\"";

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the test runs itself again, and tells itself so"
)]
fn the_keyring_keeps_secrets_and_the_master_key() {
    if std::env::var_os(ON_THE_BUS).is_some() {
        return on_the_bus();
    }
    let home = tempfile::tempdir().unwrap();
    let ran = Command::new("dbus-run-session")
        .args(["--", "sh", "-c", UNLOCK_AND_RUN])
        .arg(std::env::current_exe().unwrap())
        .arg("the_keyring_keeps_secrets_and_the_master_key")
        .env(ON_THE_BUS, "1")
        .env("HOME", home.path())
        .env("XDG_DATA_HOME", home.path())
        .env("XDG_RUNTIME_DIR", home.path())
        .output()
        .expect("dbus-run-session; `make setup` installs it");
    let told =
        String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && told.contains("1 passed"), "{told}");
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the test runs itself again, and tells itself so"
)]
fn without_a_keyring_the_failure_says_so_and_nothing_waits() {
    if std::env::var_os(ON_THE_BUS).is_some() {
        let refused = OsKeyring.read("any").err().map(|e| e.to_string());
        let refused = refused.unwrap_or_default();
        assert!(
            refused.starts_with("the keyring of the operating system failed to read:"),
            "{refused}"
        );
        let secret = Secret::new(b"CANARY-keyring-4".to_vec());
        let refused = OsKeyring.write("any", &secret).unwrap_err().to_string();
        assert!(!refused.contains("CANARY"), "{refused}");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let ran = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "without_a_keyring_the_failure_says_so_and_nothing_waits",
        ])
        .env_clear()
        .env(ON_THE_BUS, "1")
        .env("HOME", home.path())
        .env("XDG_RUNTIME_DIR", home.path())
        .output()
        .unwrap();
    let told =
        String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && told.contains("1 passed"), "{told}");
}

/// Locks the keyring that is open.
#[expect(clippy::unwrap_used, reason = "this is the test itself")]
fn lock() {
    let locked = Command::new("dbus-send")
        .args([
            "--session",
            "--print-reply",
            "--dest=org.freedesktop.secrets",
        ])
        .args([
            "/org/freedesktop/secrets",
            "org.freedesktop.Secret.Service.Lock",
            "array:objpath:/org/freedesktop/secrets/collection/login",
        ])
        .output()
        .unwrap();
    assert!(locked.status.success(), "{locked:?}");
}

#[expect(clippy::unwrap_used, reason = "this is the test itself")]
fn on_the_bus() {
    let name = format!("custody-test-{}", std::process::id());
    assert!(OsKeyring.read(&name).unwrap().is_none());
    OsKeyring
        .write(&name, &Secret::new(b"CANARY-keyring-2".to_vec()))
        .unwrap();
    OsKeyring
        .write(&name, &Secret::new(b"CANARY-keyring-\xff3".to_vec()))
        .unwrap();
    assert!(
        OsKeyring
            .read(&name)
            .unwrap()
            .unwrap()
            .matches(b"CANARY-keyring-\xff3")
    );
    OsKeyring.remove(&name).unwrap();
    OsKeyring.remove(&name).unwrap();
    assert!(OsKeyring.read(&name).unwrap().is_none());

    let made = MasterKey::create_in_keyring(&OsKeyring, &name).unwrap();
    assert!(matches!(
        MasterKey::create_in_keyring(&OsKeyring, &name),
        Err(Error::Keyring { .. })
    ));
    let read = MasterKey::from_keyring(&OsKeyring, &name).unwrap();
    assert_eq!(made.fingerprint(), read.fingerprint());
    OsKeyring.remove(&name).unwrap();
    assert!(matches!(
        MasterKey::from_keyring(&OsKeyring, &name),
        Err(Error::SecretAbsent { .. })
    ));

    OsKeyring
        .write(&name, &Secret::new(b"CANARY-keyring-5".to_vec()))
        .unwrap();
    lock();
    assert!(matches!(
        OsKeyring.read(&name),
        Err(Error::Keyring { action: "read", .. })
    ));
}
