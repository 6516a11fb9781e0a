//! What stands for issuers in these tests: notes in memory, and an issuer that counts and does what the test says.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use exeat_custody::{
    Asked, Error, Finish, Issuer, Keep, Made, Make, Material, NotIssued, Presented, Token, Waiting,
    Want, Work,
};
use exeat_types::Secret;
use tokio::sync::Semaphore;

/// Notes that die with the test.
#[derive(Default)]
pub(crate) struct Memory(Mutex<BTreeMap<String, Secret>>);

impl Keep for Memory {
    fn load(&self, name: &str) -> Result<Option<Secret>, Error> {
        let notes = self.0.lock().unwrap();
        Ok(notes.get(name).map(Secret::duplicate))
    }

    fn store(&self, name: &str, secret: &Secret) -> Result<(), Error> {
        let mut notes = self.0.lock().unwrap();
        notes.insert(name.to_owned(), secret.duplicate());
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        self.0.lock().unwrap().remove(name);
        Ok(())
    }
}

type Finisher = Box<dyn Fn(&Arc<Token>) -> Arc<dyn Finish> + Send + Sync>;

/// Issues `CANARY-issued-token-<n>`, counts, and is as slow as the test wants.
#[derive(Default)]
pub(crate) struct Counting {
    /// How often it was asked.
    pub(crate) asked: AtomicUsize,
    /// What it answers before it issues anything, in turn.
    pub(crate) first: Mutex<VecDeque<NotIssued>>,
    /// It waits for one of these before each answer, if it has any.
    pub(crate) turns: Option<Arc<Semaphore>>,
    /// How long a token lives.
    pub(crate) life: Option<Duration>,
    /// Every path needs a token of its own.
    pub(crate) narrows: bool,
    /// How it is presented, when not as a bearer.
    pub(crate) presented: Option<Presented>,
    /// What signs requests with its tokens.
    pub(crate) finisher: Option<Finisher>,
}

impl Counting {
    pub(crate) fn times(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Issuer for Counting {
    fn issue<'a>(&'a self, _: &'a Want, work: Work<'a>) -> Waiting<'a, Result<Token, NotIssued>> {
        Box::pin(async move {
            let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
            if let Some(turns) = &self.turns {
                turns.acquire().await.unwrap().forget();
            }
            if let Some(no) = self.first.lock().unwrap().pop_front() {
                return Err(no);
            }
            Ok(Token {
                secret: Secret::new(format!("CANARY-issued-token-{number}").into_bytes()),
                presented: self.presented.clone().unwrap_or(Presented::Bearer),
                expires: self.life.map(|life| work.now.after(life)),
                obtained: work.now,
                scopes: Vec::new(),
                bound: None,
            })
        })
    }

    fn narrow(&self, request: &Asked<'_>) -> Vec<String> {
        let path = self.narrows.then(|| request.path.to_owned());
        path.into_iter().collect()
    }

    fn alone(&self) -> bool {
        !self.narrows
    }

    fn finish(&self, token: &Arc<Token>) -> Option<Arc<dyn Finish>> {
        self.finisher.as_ref().map(|make| make(token))
    }

    fn revoke<'a>(&'a self, _: Work<'a>) -> Waiting<'a, Result<(), NotIssued>> {
        Box::pin(async { Ok(()) })
    }
}

/// The kind of a credential that such an issuer stands behind.
pub(crate) struct Issued(pub(crate) Arc<Counting>);

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Issued")
    }
}

impl Make for Issued {
    fn name(&self) -> &'static str {
        "issued"
    }

    fn make(&self, _: Material<'_>) -> Result<Made, &'static str> {
        Ok(Made {
            issuer: Some(Arc::clone(&self.0) as Arc<dyn Issuer>),
            ..Made::default()
        })
    }
}
