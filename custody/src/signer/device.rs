//! Keys in devices: threads that hold the connection to the device, so that no caller waits for it without end.
//!
//! A connection that fails is made anew, once for the call at hand and again for each later one. The key it then finds must
//! be the one that was there first: another one never signs.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
};

use exeat_types::{
    Algorithm, DeviceFailure, Signer,
    limits::{DEVICE_CALLS_MAX, DEVICE_IDLE, DEVICE_OPEN_TIMEOUT, DEVICE_TIMEOUT},
};

use super::encoding::verifies;
use crate::{Error, placeholder::hex};

/// What every new connection has to sign, to show which key it has.
const PROOF: &[u8] = b"exeat: this is the key";

/// A connection to one key of a device. It stays on its thread.
pub(crate) trait Connection {
    /// The algorithm and the public key, in the form [`Algorithm`] names.
    fn public_key(&self) -> (Algorithm, &[u8]);
    /// Signs a message.
    fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, DeviceFailure>;
}

/// Makes a connection. Failures are told in full once, when the signer is opened, and in short later.
pub(crate) type Connect = dyn Fn() -> Result<Box<dyn Connection>, Error> + Send + Sync;

/// Signs with a key in a device.
pub(crate) struct DeviceSigner {
    algorithm: Algorithm,
    public_key: Arc<[u8]>,
    jobs: SyncSender<Job>,
}

struct Job {
    message: Vec<u8>,
    answer: SyncSender<Result<Vec<u8>, DeviceFailure>>,
}

/// One thread's way to the device.
struct Line {
    connect: Arc<Connect>,
    algorithm: Algorithm,
    public_key: Arc<[u8]>,
    connection: Option<Box<dyn Connection>>,
}

impl DeviceSigner {
    /// Connects, has the key prove itself, and starts so many threads for it.
    pub(crate) fn open(name: &str, threads: usize, connect: &Arc<Connect>) -> Result<Self, Error> {
        let failed = |problem: &str| Error::Signer {
            name: name.to_owned(),
            problem: problem.to_owned(),
        };
        let (sender, opened) = sync_channel(1);
        let first = Arc::clone(connect);
        // Nobody listens any more when the time is up; then the answer is dropped.
        let opening = move || drop(sender.send(proven(&*first)));
        let spawned = thread::Builder::new()
            .name("signer".to_owned())
            .spawn(opening);
        spawned.map_err(|problem| failed(&format!("has no thread: {problem}")))?;
        let late = |_late: RecvTimeoutError| failed("is in a device that does not answer");
        let (algorithm, public_key) = opened.recv_timeout(DEVICE_OPEN_TIMEOUT).map_err(late)??;
        let (jobs, queue) = sync_channel(DEVICE_CALLS_MAX);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let (connect, public_key) = (Arc::clone(connect), Arc::clone(&public_key));
            let queue = Arc::clone(&queue);
            let serve = move || {
                let line = Line {
                    connect,
                    algorithm,
                    public_key,
                    connection: None,
                };
                line.serve(&queue);
            };
            let spawned = thread::Builder::new()
                .name("signer".to_owned())
                .spawn(serve);
            spawned.map_err(|problem| failed(&format!("has no thread: {problem}")))?;
        }
        Ok(Self {
            algorithm,
            public_key,
            jobs,
        })
    }
}

/// Connects and has the key sign, so that its public half is known to belong to it.
fn proven(connect: &Connect) -> Result<(Algorithm, Arc<[u8]>), Error> {
    let mut connection = connect()?;
    let proof = connection.sign(PROOF)?;
    let (algorithm, key) = connection.public_key();
    if !verifies(algorithm, key, PROOF, &proof) {
        return Err(DeviceFailure("the device signs with another key than it shows").into());
    }
    Ok((algorithm, key.into()))
}

impl Line {
    /// Works until the signer is gone.
    fn serve(mut self, queue: &Mutex<Receiver<Job>>) {
        loop {
            let next = queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .recv_timeout(DEVICE_IDLE);
            match next {
                Ok(job) => {
                    let signed = self.sign(&job.message);
                    // A caller whose time was up is gone.
                    drop(job.answer.send(signed));
                }
                // Others may want the device meanwhile.
                Err(RecvTimeoutError::Timeout) => self.connection = None,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Signs; a connection that was there before and fails now is made anew once.
    fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, DeviceFailure> {
        let held = self.connection.is_some();
        match self.attempt(message) {
            Err(_lost) if held => self.attempt(message),
            signed => signed,
        }
    }

    fn attempt(&mut self, message: &[u8]) -> Result<Vec<u8>, DeviceFailure> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.reconnect()?,
        };
        let signature = connection.sign(message)?;
        self.connection = Some(connection);
        Ok(signature)
    }

    /// SECURITY: the key must be the one that the signer was opened with, and must prove it.
    fn reconnect(&self) -> Result<Box<dyn Connection>, DeviceFailure> {
        let gone = |_told_when_opened| DeviceFailure("the device is gone or refuses");
        let mut connection = (self.connect)().map_err(gone)?;
        let proof = connection.sign(PROOF)?;
        let same = connection.public_key() == (self.algorithm, &*self.public_key);
        if same && verifies(self.algorithm, &self.public_key, PROOF, &proof) {
            return Ok(connection);
        }
        Err(DeviceFailure("the device has another key now"))
    }
}

impl Signer for DeviceSigner {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn blocks(&self) -> bool {
        true
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, DeviceFailure> {
        let (answer, signed) = sync_channel(1);
        let job = Job {
            message: message.to_vec(),
            answer,
        };
        self.jobs.try_send(job).map_err(|unsent| match unsent {
            TrySendError::Full(_) => DeviceFailure("the device has too much to sign"),
            TrySendError::Disconnected(_) => DeviceFailure("the device is gone"),
        })?;
        let late = |_late: RecvTimeoutError| DeviceFailure("the device did not answer in time");
        signed.recv_timeout(DEVICE_TIMEOUT).map_err(late)?
    }
}

impl fmt::Debug for DeviceSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceSigner")
            .field("public_key", &hex(&self.public_key))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::SoftwareSigner;

    /// Which key the device has at the moment, and whether it answers; it stands for a device.
    struct Fake {
        state: Arc<AtomicUsize>,
        keys: Arc<[SoftwareSigner; 2]>,
        has: usize,
    }

    const GONE: usize = 9;

    impl Connection for Fake {
        fn public_key(&self) -> (Algorithm, &[u8]) {
            (
                self.keys[self.has].algorithm(),
                self.keys[self.has].public_key(),
            )
        }

        fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, DeviceFailure> {
            match self.state.load(Ordering::SeqCst) {
                state if state == self.has => self.keys[self.has].sign(message),
                _ => Err(DeviceFailure("gone")),
            }
        }
    }

    #[test]
    fn a_device_that_is_lost_refuses_and_works_again_only_with_the_same_key() {
        let state = Arc::new(AtomicUsize::new(0));
        let keys = [Algorithm::Es256, Algorithm::Es256].map(|algorithm| {
            SoftwareSigner::from_key(&SoftwareSigner::new_key(algorithm).unwrap()).unwrap()
        });
        let keys = Arc::new(keys);
        let (now, held) = (Arc::clone(&state), Arc::clone(&keys));
        let connect = move || -> Result<Box<dyn Connection>, Error> {
            let has = now.load(Ordering::SeqCst);
            if has == GONE {
                return Err(DeviceFailure("gone").into());
            }
            Ok(Box::new(Fake {
                state: Arc::clone(&now),
                keys: Arc::clone(&held),
                has,
            }))
        };
        let signer = DeviceSigner::open("fake", 1, &(Arc::new(connect) as Arc<Connect>)).unwrap();
        assert!(
            signer.blocks() && format!("{signer:?}").starts_with("DeviceSigner { public_key: \"04")
        );
        let signs = |signer: &DeviceSigner| {
            let signed = signer.sign(b"message")?;
            assert!(verifies(
                Algorithm::Es256,
                keys[0].public_key(),
                b"message",
                &signed
            ));
            Ok::<_, DeviceFailure>(())
        };
        signs(&signer).unwrap();
        for (now, expect) in [
            (GONE, Err("the device is gone or refuses")),
            (0, Ok(())),
            (1, Err("the device has another key now")),
            (0, Ok(())),
        ] {
            state.store(now, Ordering::SeqCst);
            assert_eq!(signs(&signer), expect.map_err(DeviceFailure));
        }
    }
}
