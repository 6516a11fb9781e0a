//! The contract, and what a test needs to open a signer.

use std::{path::Path, sync::Arc};

use exeat_custody::{
    Devices, Error, NewKey, Opening, Outside, SignerKind,
    signer::{public_key, spki, verifies},
};
use exeat_types::{Algorithm, Clock, FakeClock, Secret, Signer, Timestamp};

/// Opens a signer whose data folder is this one.
pub(crate) fn open(
    kind: &dyn SignerKind,
    folder: &Path,
    secrets: &[Secret],
) -> Result<Arc<dyn Signer>, Error> {
    with(folder, secrets, |opening| kind.open(opening))
}

/// Opens a signer whose key lies in a service, which is reached by this way.
pub(crate) fn open_outside(
    kind: &dyn SignerKind,
    secrets: &[Secret],
    outside: &Arc<dyn Outside>,
) -> Result<Arc<dyn Signer>, Error> {
    with(Path::new(""), secrets, |opening| {
        kind.open(&Opening {
            outside: Some(outside),
            ..*opening
        })
    })
}

/// Makes its key.
pub(crate) fn create(
    kind: &dyn SignerKind,
    folder: &Path,
    secrets: &[Secret],
    algorithm: Algorithm,
) -> Result<NewKey, Error> {
    with(folder, secrets, |opening| kind.create(opening, algorithm))
}

/// Opens it in a process that has used these devices before.
pub(crate) fn open_again(
    kind: &dyn SignerKind,
    folder: &Path,
    secrets: &[Secret],
    devices: &Devices,
) -> Result<Arc<dyn Signer>, Error> {
    with(folder, secrets, |opening| {
        kind.open(&Opening {
            devices,
            ..*opening
        })
    })
}

fn with<T>(folder: &Path, secrets: &[Secret], act: impl FnOnce(&Opening<'_>) -> T) -> T {
    let clock: Arc<dyn Clock> = Arc::new(FakeClock::at(Timestamp::from_millis(1_800_000_000_000)));
    act(&Opening {
        name: "test",
        secrets,
        outside: None,
        clock: &clock,
        folder,
        devices: &Devices::default(),
    })
}

/// What it signs verifies with its public key, and with no other message; the public key is of the form it should have.
#[track_caller]
pub(crate) fn signs(signer: &dyn Signer, algorithm: Algorithm) {
    assert_eq!(signer.algorithm(), algorithm);
    assert_eq!(
        public_key(&spki(signer)),
        Some((algorithm, signer.public_key().to_vec()))
    );
    let long = vec![b'x'; 100_000];
    for message in [&b""[..], b"a message", &long] {
        let signature = signer.sign(message).unwrap();
        assert!(
            verifies(algorithm, signer.public_key(), message, &signature),
            "{} bytes",
            message.len()
        );
        assert!(!verifies(
            algorithm,
            signer.public_key(),
            b"another",
            &signature
        ));
        if algorithm != Algorithm::Rs256 {
            assert_eq!(signature.len(), 64);
        }
    }
}

/// Sixteen threads sign fifty messages each, and each gets the signature of its own message.
#[track_caller]
pub(crate) fn signs_for_many(signer: &dyn Signer) {
    signs_at_once(signer, 16, 50);
}

/// So many threads sign so many messages each, and each gets the signature of its own message.
#[track_caller]
pub(crate) fn signs_at_once(signer: &dyn Signer, threads: usize, messages: usize) {
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for count in 0..messages {
                    let message = format!("{thread} {count}");
                    let signature = signer.sign(message.as_bytes()).unwrap();
                    assert!(
                        verifies(
                            signer.algorithm(),
                            signer.public_key(),
                            message.as_bytes(),
                            &signature
                        ),
                        "{message}"
                    );
                }
            });
        }
    });
}

/// While it is lost nothing is signed, again and again; when it is back, the same key signs.
#[track_caller]
pub(crate) fn refuses_while_lost(signer: &dyn Signer, lose: impl FnOnce(), find: impl FnOnce()) {
    let key = signer.public_key().to_vec();
    signs(signer, signer.algorithm());
    lose();
    for _ in 0..3 {
        let refused = signer.sign(b"a message").unwrap_err();
        let refused = refused.to_string();
        let named = ["the device", "the key service"];
        assert!(
            named.iter().any(|name| refused.starts_with(name)),
            "{refused}"
        );
    }
    find();
    signs(signer, signer.algorithm());
    assert_eq!(signer.public_key(), key);
}
