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
}
