//! Captures: the declared arguments of a call, sealed under a key of the day, erasable without touching the chain.
//!
//! The receipt holds a salted digest, and the salt is sealed with the arguments: once the capture is erased nobody can
//! test guesses against the receipt. A capture is not evidence: it is made durable within a second, not before the call.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use exeat_types::{CallId, Digest, DigestBuilder, Sealer, Secret, Timestamp, random_bytes};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::Error;

/// The largest capture.
pub const CAPTURE_BYTES_MAX: usize = exeat_types::limits::WHOLE_BODY_BYTES_MAX;
const SALT_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const ENTRY_BYTES: usize = 16 + 4 + NONCE_BYTES;

/// The captures of the last days, `captures/<day>/{key,sealed}`.
pub(crate) struct Captures {
    folder: PathBuf,
    sealer: Arc<dyn Sealer>,
    today: Mutex<Option<Today>>,
}

struct Today {
    day: String,
    key: LessSafeKey,
    file: File,
    unsynced: bool,
}

impl Captures {
    pub(crate) const fn new(folder: PathBuf, sealer: Arc<dyn Sealer>) -> Self {
        Self {
            folder,
            sealer,
            today: Mutex::new(None),
        }
    }

    /// Seals and keeps the arguments of a call, and gives the digest that belongs in its intent.
    pub(crate) fn keep(&self, call: CallId, now: Timestamp, bytes: &[u8]) -> Result<Digest, Error> {
        if bytes.len() > CAPTURE_BYTES_MAX {
            return Err(Error::TooLarge {
                bytes: bytes.len(),
                bytes_max: CAPTURE_BYTES_MAX,
            });
        }
        let salt: [u8; SALT_BYTES] = random_bytes().map_err(Error::device("keep a capture"))?;
        let nonce: [u8; NONCE_BYTES] = random_bytes().map_err(Error::device("keep a capture"))?;
        let digest = salted(&salt, bytes);
        let mut sealed = Vec::with_capacity(SALT_BYTES + bytes.len() + 16);
        sealed.extend_from_slice(&salt);
        sealed.extend_from_slice(bytes);

        let mut guard = self.lock();
        let today = self.on_day(&mut guard, &day_of(now))?;
        today
            .key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(call.to_bytes()),
                &mut sealed,
            )
            .map_err(|_cause| Error::Device {
                doing: "keep a capture",
                cause: exeat_types::DeviceFailure("sealing failed"),
            })?;
        let length = u32::try_from(sealed.len()).unwrap_or(u32::MAX);
        let mut entry = Vec::with_capacity(ENTRY_BYTES + sealed.len());
        entry.extend_from_slice(&call.to_bytes());
        entry.extend_from_slice(&length.to_le_bytes());
        entry.extend_from_slice(&nonce);
        entry.extend_from_slice(&sealed);
        today
            .file
            .write_all(&entry)
            .map_err(Error::disk("keep a capture"))?;
        today.unsynced = true;
        Ok(digest)
    }

    /// Opens the capture of a call that was accepted on a day, if it is still there and is what the receipt says.
    pub(crate) fn open(
        &self,
        call: CallId,
        at: Timestamp,
        digest: &Digest,
    ) -> Result<Option<Vec<u8>>, Error> {
        let folder = self.folder.join(day_of(at));
        let Some(found) = find(&folder, call).map_err(Error::disk("read a capture"))? else {
            return Ok(None);
        };
        let Some(key) = self.read_key(&folder, &day_of(at))? else {
            return Ok(None);
        };
        let mut sealed = found.sealed;
        let nonce = Nonce::assume_unique_for_key(found.nonce);
        let Ok(plain) = key.open_in_place(nonce, Aad::from(call.to_bytes()), &mut sealed) else {
            return Ok(None);
        };
        let Some((salt, bytes)) = plain.split_at_checked(SALT_BYTES) else {
            return Ok(None);
        };
        Ok((salted(salt, bytes) == *digest).then(|| bytes.to_vec()))
    }

    /// Erases the capture of a call. True if there was one.
    pub(crate) fn erase(&self, call: CallId, at: Timestamp) -> Result<bool, Error> {
        let folder = self.folder.join(day_of(at));
        let wrong = || Error::disk("erase a capture");
        let Some(found) = find(&folder, call).map_err(wrong())? else {
            return Ok(false);
        };
        let file = OpenOptions::new()
            .write(true)
            .open(folder.join("sealed"))
            .map_err(wrong())?;
        let zeros = vec![0; found.sealed.len() + NONCE_BYTES];
        file.write_all_at(&zeros, found.offset + 20)
            .map_err(wrong())?;
        file.sync_data().map_err(wrong())?;
        Ok(true)
    }

    /// Makes what was kept durable.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        if let Some(today) = &mut *self.lock()
            && today.unsynced
        {
            today
                .file
                .sync_data()
                .map_err(Error::disk("keep a capture"))?;
            today.unsynced = false;
        }
        Ok(())
    }

    /// Erases the days before the last `days`: the key first, so that what is left of the rest is noise.
    pub(crate) fn expire(&self, now: Timestamp, days: u32) -> Result<(), Error> {
        let wrong = || Error::disk("erase old captures");
        let age_ms = u64::from(days).saturating_mul(24 * 60 * 60 * 1000);
        let first = day_of(Timestamp::from_millis(now.millis().saturating_sub(age_ms)));
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(wrong()(e)),
        };
        for entry in entries {
            let entry = entry.map_err(wrong())?;
            let name = entry.file_name();
            let is_old = name
                .to_str()
                .is_some_and(|day| day.len() == 10 && day < first.as_str());
            if is_old {
                wipe_key(&entry.path().join("key")).map_err(wrong())?;
                fs::remove_dir_all(entry.path()).map_err(wrong())?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Today>> {
        self.today.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on_day<'g>(
        &self,
        guard: &'g mut MutexGuard<'_, Option<Today>>,
        day: &str,
    ) -> Result<&'g mut Today, Error> {
        if guard.as_ref().is_none_or(|today| today.day != day) {
            **guard = Some(self.begin(day)?);
        }
        guard.as_mut().ok_or(Error::Closed)
    }

    fn begin(&self, day: &str) -> Result<Today, Error> {
        let wrong = || Error::disk("begin a day of captures");
        let folder = self.folder.join(day);
        fs::create_dir_all(&folder).map_err(wrong())?;
        let key = match self.read_key(&folder, day)? {
            Some(key) => key,
            None => self.make_key(&folder, day)?,
        };
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        let file = options.open(folder.join("sealed")).map_err(wrong())?;
        Ok(Today {
            day: day.to_owned(),
            key,
            file,
            unsynced: false,
        })
    }

    fn make_key(&self, folder: &Path, day: &str) -> Result<LessSafeKey, Error> {
        let bytes: [u8; 32] = random_bytes().map_err(Error::device("make a capture key"))?;
        let sealed = self
            .sealer
            .seal(&place(day), &bytes)
            .map_err(Error::device("make a capture key"))?;
        let wrong = || Error::disk("make a capture key");
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(folder.join("key")).map_err(wrong())?;
        file.write_all(&sealed)
            .and_then(|()| file.sync_all())
            .map_err(wrong())?;
        day_key(&bytes)
    }

    fn read_key(&self, folder: &Path, day: &str) -> Result<Option<LessSafeKey>, Error> {
        let sealed = match fs::read(folder.join("key")) {
            Ok(sealed) => sealed,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::disk("read a capture key")(e)),
        };
        let secret = self
            .sealer
            .open(&place(day), &sealed)
            .map_err(Error::device("open a capture key"))?;
        day_key(open_day_key(&secret)).map(Some)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the key of a day is our own, not a credential"
)]
fn open_day_key(secret: &Secret) -> &[u8] {
    secret.open()
}

fn day_key(bytes: &[u8]) -> Result<LessSafeKey, Error> {
    let cause = exeat_types::DeviceFailure("not a key of 32 bytes");
    let wrong = |_| Error::Device {
        doing: "open a capture key",
        cause,
    };
    UnboundKey::new(&AES_256_GCM, bytes)
        .map(LessSafeKey::new)
        .map_err(wrong)
}

fn place(day: &str) -> String {
    format!("ledger/captures/{day}")
}

fn salted(salt: &[u8], bytes: &[u8]) -> Digest {
    let mut builder = DigestBuilder::new();
    builder.update(salt);
    builder.update(bytes);
    builder.finish()
}

/// The day in UTC, `2026-01-31`.
fn day_of(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

fn wipe_key(path: &Path) -> io::Result<()> {
    let length = match fs::metadata(path) {
        Ok(found) => usize::try_from(found.len()).unwrap_or(0),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    let file = OpenOptions::new().write(true).open(path)?;
    file.write_all_at(&vec![0; length], 0)?;
    file.sync_all()
}

struct Found {
    offset: u64,
    nonce: [u8; NONCE_BYTES],
    sealed: Vec<u8>,
}

/// Finds the entry of a call by reading the heads of all entries of its day.
fn find(folder: &Path, call: CallId) -> io::Result<Option<Found>> {
    let mut file = match File::open(folder.join("sealed")) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut offset = 0u64;
    let mut head = [0u8; ENTRY_BYTES];
    while file.read_exact(&mut head).is_ok() {
        let Some((id, rest)) = head.split_first_chunk::<16>() else {
            break;
        };
        let Some((length, nonce)) = rest.split_first_chunk::<4>() else {
            break;
        };
        let length = u32::from_le_bytes(*length);
        if *id == call.to_bytes() {
            let mut sealed = vec![0; usize::try_from(length).unwrap_or(0)];
            file.read_exact(&mut sealed)?;
            let nonce = nonce.first_chunk().copied().unwrap_or([0; NONCE_BYTES]);
            return Ok(Some(Found {
                offset,
                nonce,
                sealed,
            }));
        }
        offset += u64::from(length) + u64::try_from(ENTRY_BYTES).unwrap_or(0);
        file.seek(SeekFrom::Start(offset))?;
    }
    Ok(None)
}
