//! The folder with the stored root: `root.pem`, its sealed key, and `previous.pem` while clients still trust that one.
//!
//! The sealed key lies in a file named after the certificate's fingerprint, so that replacing `root.pem` by a rename is
//! the one moment at which the root changes: a crash leaves the old root or the new one, whole.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use exeat_types::{Digest, Sealer, Timestamp};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use crate::{Error, Root, Sealed, bundle::bundle, root};

const ROOT: &str = "root.pem";
const PREVIOUS: &str = "previous.pem";

/// The stored root of one data folder.
pub struct Store {
    folder: PathBuf,
    current: Arc<Root>,
    previous: Option<Previous>,
}

struct Previous {
    certificate: CertificateDer<'static>,
    not_after: Timestamp,
}

impl Store {
    /// Stores the first root, in a folder that is made if need be and closed to other users.
    ///
    /// # Errors
    /// When there is a root already, or it cannot be sealed or written.
    pub fn init(folder: &Path, root: Root, sealer: &dyn Sealer) -> Result<Self, Error> {
        let path = folder.join(ROOT);
        if path.try_exists().map_err(file("look for", &path))? {
            return Err(Error::Exists { path });
        }
        fs::create_dir_all(folder).map_err(file("create", folder))?;
        fs::set_permissions(folder, Permissions::from_mode(0o700))
            .map_err(file("close", folder))?;
        write_root(folder, &root, sealer)?;
        Ok(Self {
            folder: folder.to_owned(),
            current: Arc::new(root),
            previous: None,
        })
    }

    /// Opens the stored root.
    ///
    /// # Errors
    /// When there is none, its key is open to other users, does not open or does not belong to it.
    pub fn load(folder: &Path, sealer: &dyn Sealer) -> Result<Self, Error> {
        let path = folder.join(ROOT);
        let certificate_pem = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Missing { path });
            }
            other => other.map_err(file("read", &path))?,
        };
        let key_path = folder.join(key_name(&fingerprint(&certificate_pem)?));
        let sealed_key = read_private(&key_path)?;
        let current = Root::unseal(
            &Sealed {
                certificate_pem,
                sealed_key,
            },
            sealer,
        )?;
        let previous = read_previous(&folder.join(PREVIOUS))?
            .filter(|previous| previous.certificate != *current.certificate_der());
        Ok(Self {
            folder: folder.to_owned(),
            current: Arc::new(current),
            previous,
        })
    }

    /// Puts another root in place of the current one, which stays trusted until it expires or the next rotation.
    ///
    /// # Errors
    /// When the new root cannot be sealed or written, and then the current one stays; or when the key of the replaced
    /// root cannot be removed, and then the rotation has happened.
    pub fn rotate(&mut self, root: Root, sealer: &dyn Sealer) -> Result<(), Error> {
        let old_key = self.folder.join(key_name(&self.current.fingerprint()));
        let previous_pem = self.current.certificate_pem();
        replace(&self.folder, PREVIOUS, previous_pem.as_bytes())?;
        write_root(&self.folder, &root, sealer)?;
        self.previous = Some(Previous {
            certificate: self.current.certificate_der().clone(),
            not_after: self.current.not_after(),
        });
        self.current = Arc::new(root);
        fs::remove_file(&old_key).map_err(file("remove", &old_key))
    }

    /// The root that signs.
    pub fn current(&self) -> &Arc<Root> {
        &self.current
    }

    /// What clients should trust now: the current root and, during the overlap, the previous one.
    pub fn trust(&self, now: Timestamp) -> Vec<CertificateDer<'static>> {
        let overlap = self
            .previous
            .iter()
            .filter(|previous| now < previous.not_after);
        let overlap = overlap.map(|previous| previous.certificate.clone());
        std::iter::once(self.current.certificate_der().clone())
            .chain(overlap)
            .collect()
    }

    /// What clients should trust now, as PEM.
    pub fn trust_pem(&self, now: Timestamp) -> String {
        bundle(&[], &self.trust(now))
    }
}

fn fingerprint(certificate_pem: &str) -> Result<Digest, Error> {
    Ok(Digest::of(&certificate(certificate_pem)?))
}

fn certificate(pem: &str) -> Result<CertificateDer<'static>, Error> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| Error::Unreadable {
        problem: error.to_string(),
    })
}

fn key_name(fingerprint: &Digest) -> String {
    let hex = fingerprint.hex();
    let short = hex.get(..16).unwrap_or(&hex);
    format!("root-{short}.key.sealed")
}

fn read_previous(path: &Path) -> Result<Option<Previous>, Error> {
    let pem = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(file("read", path))?,
    };
    let certificate = certificate(&pem)?;
    let not_after = root::read(&certificate)?.not_after;
    Ok(Some(Previous {
        certificate,
        not_after,
    }))
}

/// SECURITY: a key that others can read, or replace, is refused even though it is sealed.
fn read_private(path: &Path) -> Result<Vec<u8>, Error> {
    let mode = fs::metadata(path)
        .map_err(file("read", path))?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    fs::read(path).map_err(file("read", path))
}

fn write_root(folder: &Path, root: &Root, sealer: &dyn Sealer) -> Result<(), Error> {
    let sealed = root.seal(sealer)?;
    replace(folder, &key_name(&root.fingerprint()), &sealed.sealed_key)?;
    replace(folder, ROOT, sealed.certificate_pem.as_bytes())
}

/// Writes a file that only its owner may read, durable before it takes its name.
fn replace(folder: &Path, name: &str, content: &[u8]) -> Result<(), Error> {
    let (path, fresh) = (folder.join(name), folder.join(format!("{name}.new")));
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&fresh, &path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(file("write", &path))
}

fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::File {
        action,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
