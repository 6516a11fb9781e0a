//! A command that keeps secrets: the real `pass`, with a real GnuPG.

use std::{path::Path, process::Command};

use exeat_custody::{Error, Keyring, SecretRef, Stores};
use exeat_types::Secret;

/// No keyring is asked for here.
struct NoKeyring;

impl Keyring for NoKeyring {
    fn read(&self, _: &str) -> Result<Option<Secret>, Error> {
        Ok(None)
    }

    fn write(&self, _: &str, _: &Secret) -> Result<(), Error> {
        Ok(())
    }

    fn remove(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }
}

/// A password store of its own, whose agent ends with it.
struct Store {
    home: tempfile::TempDir,
}

#[cfg(test)]
impl Store {
    fn new() -> Self {
        let store = Self {
            home: tempfile::tempdir().unwrap(),
        };
        store.run("gpg --batch --quiet --passphrase= --quick-generate-key exeat@example.com");
        store.run("pass init exeat@example.com");
        store
    }

    fn home(&self) -> &Path {
        self.home.path()
    }

    #[track_caller]
    fn run(&self, command: &str) {
        let script = format!("exec {command}");
        let ran = Command::new("sh")
            .args(["-c", &script])
            .env("GNUPGHOME", self.home())
            .env("PASSWORD_STORE_DIR", self.home().join("store"))
            .output()
            .unwrap();
        assert!(
            ran.status.success(),
            "{command}: {ran:?}; `make setup` installs what it needs"
        );
    }

    fn reference(&self, name: &str) -> SecretRef {
        let home = self.home().display();
        let text =
            format!("cmd:env GNUPGHOME={home} PASSWORD_STORE_DIR={home}/store pass show {name}");
        text.parse().unwrap()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let mut ended = Command::new("gpgconf");
        ended.args(["--kill", "all"]).env("GNUPGHOME", self.home());
        ended.status().map(drop).unwrap_or_default();
    }
}

#[test]
fn a_secret_of_pass_is_fetched_and_one_that_it_lacks_is_not() {
    let store = Store::new();
    store.run("sh -c 'printf \"CANARY-pass-1\n\" | pass insert --multiline api/linear'");
    let stores = Stores {
        vault: None,
        keyring: &NoKeyring,
        server: None,
        environment: &|_: &str| None,
    };
    let (secret, version) = store.reference("api/linear").resolve(&stores).unwrap();
    assert!(secret.matches(b"CANARY-pass-1"));
    assert_eq!(version, 1);
    let absent = store.reference("api/none").resolve(&stores).err().unwrap();
    assert_eq!(absent.to_string(), "command `env` ended with status 1");
}
