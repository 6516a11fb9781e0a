//! The keyring of the operating system (Secret Service).
//!
//! It may ask a person to unlock it, so every question runs on a thread of its own and has a time limit.

use std::{sync::mpsc, thread};

use exeat_types::{Secret, limits::SECRET_COMMAND_TIMEOUT};

use crate::Error;

/// Under this name all of Exeat's entries stand in the keyring.
const ENTRIES_OF: &str = "exeat";

/// A store of secrets outside Exeat, by name.
pub trait Keyring: Send + Sync {
    /// The secret of this name, if there is one.
    ///
    /// # Errors
    /// When the keyring is absent, locked or does not answer in time.
    fn read(&self, name: &str) -> Result<Option<Secret>, Error>;

    /// Stores a secret under this name, in place of an earlier one.
    ///
    /// # Errors
    /// When the keyring is absent, locked or does not answer in time.
    fn write(&self, name: &str, secret: &Secret) -> Result<(), Error>;

    /// Removes the secret of this name, if there is one.
    ///
    /// # Errors
    /// When the keyring is absent, locked or does not answer in time.
    fn remove(&self, name: &str) -> Result<(), Error>;
}

/// The keyring of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsKeyring;

impl Keyring for OsKeyring {
    fn read(&self, name: &str) -> Result<Option<Secret>, Error> {
        ask("read", name, |entry| Ok(Secret::new(entry.get_secret()?)))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the keyring is handed the secret to keep"
    )]
    fn write(&self, name: &str, secret: &Secret) -> Result<(), Error> {
        let secret = secret.duplicate();
        ask("store", name, move |entry| entry.set_secret(secret.open())).map(drop)
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        ask("remove", name, keyring::Entry::delete_credential).map(drop)
    }
}

/// Asks about one entry; `None` when it does not exist.
fn ask<T: Send + 'static>(
    action: &'static str,
    name: &str,
    question: impl FnOnce(&keyring::Entry) -> keyring::Result<T> + Send + 'static,
) -> Result<Option<T>, Error> {
    let failed = |problem: String| Error::Keyring { action, problem };
    let (sender, answer) = mpsc::sync_channel(1);
    let name = name.to_owned();
    let asking = move || {
        let said = keyring::Entry::new(ENTRIES_OF, &name).and_then(|entry| question(&entry));
        // Nobody listens any more when the time is up; then the answer is dropped, and with it the secret.
        drop(sender.send(said));
    };
    let spawned = thread::Builder::new()
        .name("keyring".to_owned())
        .spawn(asking);
    spawned.map_err(|problem| failed(problem.to_string()))?;
    match answer.recv_timeout(SECRET_COMMAND_TIMEOUT) {
        Ok(Ok(value)) => Ok(Some(value)),
        Ok(Err(keyring::Error::NoEntry)) => Ok(None),
        Ok(Err(problem)) => Err(failed(wording(&problem))),
        Err(_late) => Err(failed(format!(
            "no answer within {SECRET_COMMAND_TIMEOUT:?}"
        ))),
    }
}

/// What the keyring said, without variants that carry bytes of the entry.
fn wording(problem: &keyring::Error) -> String {
    match problem {
        keyring::Error::BadEncoding(_) | keyring::Error::BadDataFormat(..) => {
            "the entry is not in a form that can be read".to_owned()
        }
        keyring::Error::Ambiguous(_) => "several entries have this name".to_owned(),
        keyring::Error::NoDefaultStore => match keyring::Entry::store_status() {
            Err(problem) => format!("no keyring is running ({problem})"),
            Ok(()) => "no keyring is running".to_owned(),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{collections::BTreeMap, sync::Mutex};

    use super::*;

    /// A keyring in memory; it stands for the outside world.
    #[derive(Default)]
    pub(crate) struct FakeKeyring(Mutex<BTreeMap<String, Secret>>);

    impl Keyring for FakeKeyring {
        fn read(&self, name: &str) -> Result<Option<Secret>, Error> {
            Ok(self.0.lock().unwrap().get(name).map(Secret::duplicate))
        }

        fn write(&self, name: &str, secret: &Secret) -> Result<(), Error> {
            self.0
                .lock()
                .unwrap()
                .insert(name.to_owned(), secret.duplicate());
            Ok(())
        }

        fn remove(&self, name: &str) -> Result<(), Error> {
            self.0.lock().unwrap().remove(name);
            Ok(())
        }
    }

    #[test]
    fn a_damaged_entry_is_reported_without_its_bytes() {
        let problem = keyring::Error::BadEncoding(b"CANARY-keyring-1".to_vec());
        assert!(
            !wording(&problem).contains("CANARY"),
            "{}",
            wording(&problem)
        );
        assert!(!wording(&problem).contains("67, 65"));
    }
}
