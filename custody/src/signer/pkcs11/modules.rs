//! The libraries of PKCS#11 devices: each is loaded and initialised once for the process, and begun anew when its device was
//! lost, since many see a device again only then.

use std::{
    collections::HashMap,
    fmt,
    mem::ManuallyDrop,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error as Failure, Result, RvError},
    session::Session,
};
use exeat_types::Secret;

/// Every library that is in use, by its path.
#[derive(Default)]
pub(crate) struct Modules(Mutex<HashMap<PathBuf, Arc<Module>>>);

impl Modules {
    /// The library at this path; it is loaded when it is used.
    pub(crate) fn module(&self, path: &Path) -> Arc<Module> {
        let mut modules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let module = modules.entry(path.to_owned()).or_insert_with(|| {
            Arc::new(Module {
                path: path.to_owned(),
                library: RwLock::new(None),
                beginnings: AtomicU64::new(0),
                refused: Mutex::default(),
            })
        });
        Arc::clone(module)
    }
}

impl fmt::Debug for Modules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let modules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_set().entries(modules.keys()).finish()
    }
}

/// One library.
pub(crate) struct Module {
    path: PathBuf,
    /// Shared by whoever calls into the library, alone while it is begun anew.
    library: RwLock<Option<Pkcs11>>,
    /// How often it was initialised. A session of an earlier time is no session any more.
    beginnings: AtomicU64,
    /// What was refused at the door of each token, by its label.
    refused: Mutex<HashMap<String, Arc<Mutex<RefusedPins>>>>,
}

/// PINs that a token said are wrong. It is held while one is tried, so that no two try the same.
pub(crate) type RefusedPins = Vec<Option<Secret>>;

impl Module {
    /// Calls into the library, which is loaded and initialised if it is not.
    pub(crate) fn call<T>(&self, act: impl FnOnce(&Pkcs11) -> T) -> Result<T> {
        loop {
            let library = self.library.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(library) = &*library {
                return Ok(act(library));
            }
            drop(library);
            let mut library = self.library.write().unwrap_or_else(PoisonError::into_inner);
            if library.is_none() {
                *library = Some(self.begin()?);
            }
        }
    }

    /// Ends the library; whoever calls next begins it anew. Every session of every token of it is gone.
    pub(crate) fn end(&self) -> Result<()> {
        let mut library = self.library.write().unwrap_or_else(PoisonError::into_inner);
        match library.take() {
            Some(library) => library.finalize(),
            None => Ok(()),
        }
    }

    /// What was refused at the door of the token with this label, for everybody who uses the library.
    pub(crate) fn refused(&self, label: &str) -> Arc<Mutex<RefusedPins>> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(refused.entry(label.to_owned()).or_default())
    }

    fn begin(&self) -> Result<Pkcs11> {
        let library = Pkcs11::new(&self.path)?;
        match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // Another part of the process may use the same library.
            Ok(()) | Err(Failure::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(problem) => return Err(problem),
        }
        self.beginnings.fetch_add(1, Ordering::SeqCst);
        Ok(library)
    }

    /// Keeps the library from ending while the answer is held, if it has not since then.
    fn still(&self, beginning: u64) -> Option<RwLockReadGuard<'_, Option<Pkcs11>>> {
        let library = self.library.read().unwrap_or_else(PoisonError::into_inner);
        let same = library.is_some() && self.beginnings.load(Ordering::SeqCst) == beginning;
        same.then_some(library)
    }
}

/// A session that knows whether its library has been begun anew since.
pub(crate) struct Tied {
    module: Arc<Module>,
    beginning: u64,
    /// INVARIANT: there until dropped.
    session: Option<Session>,
}

impl Tied {
    /// Opens a session in a call into the library.
    pub(crate) fn open<E>(
        module: &Arc<Module>,
        open: impl FnOnce(&Pkcs11) -> std::result::Result<Session, E>,
    ) -> Result<std::result::Result<Self, E>> {
        module.call(|library| {
            Ok(Self {
                module: Arc::clone(module),
                // The library does not end during a call.
                beginning: module.beginnings.load(Ordering::SeqCst),
                session: Some(open(library)?),
            })
        })
    }

    /// Uses the session, if its library has not ended since.
    pub(crate) fn call<T>(&self, act: impl FnOnce(&Session) -> T) -> Result<T> {
        match (self.module.still(self.beginning), &self.session) {
            (Some(_still), Some(session)) => Ok(act(session)),
            _ => Err(Failure::InvalidValue),
        }
    }
}

impl Drop for Tied {
    /// Closes the session. One of an earlier time is left alone: its number may be that of another session by now.
    fn drop(&mut self) {
        let session = self.session.take().map(ManuallyDrop::new);
        if let Some(_still) = self.module.still(self.beginning) {
            drop(session.map(ManuallyDrop::into_inner));
        }
    }
}
