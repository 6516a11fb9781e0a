//! The side that replaces: read everything while the other gate still serves, take over what it hands, and serve.

use std::{
    collections::HashMap,
    os::{fd::OwnedFd, unix::net::UnixStream},
};

use anyhow::{Context as _, anyhow, bail};
use exeat_ledger::Held;
use exeat_types::CallId;

use super::{Channel, HAND_OVER, Moved, PREPARING, TAKING, Word};
use crate::{
    folder::{DataFolder, FolderLock},
    gate::{Life, State, Stores},
    settings::Settings,
};

/// Everything that the gate before this one had.
pub(crate) struct Taken {
    /// The opened folder.
    pub(crate) state: State,
    /// The lock of the folder; held by both until the other lets go.
    pub(crate) lock: FolderLock,
    pub(crate) life: Life,
    /// The sockets it listened on.
    pub(crate) sockets: HashMap<String, OwnedFd>,
    /// The sandboxes it served.
    pub(crate) sandboxes: Vec<(Moved, Vec<OwnedFd>)>,
    /// Its calls that are open.
    pub(crate) open: Vec<CallId>,
    /// The records that it has still to write come here.
    pub(crate) records: UnixStream,
    /// Its process.
    pub(crate) pid: u32,
    /// Its version.
    pub(crate) version: String,
}

/// The gate before this one.
pub(crate) struct Predecessor(Channel);

impl Predecessor {
    /// Begins the conversation with the gate that started this process.
    ///
    /// # Errors
    /// When no gate started it.
    pub(crate) fn from_stdin() -> anyhow::Result<Self> {
        Ok(Self(Channel::from_stdin()?))
    }

    /// Another handle on the same conversation.
    ///
    /// # Errors
    /// When no descriptor is to be had.
    pub(crate) fn again(&self) -> anyhow::Result<Self> {
        Ok(Self(self.0.again()?))
    }

    /// Tells the other gate why this one does not take over.
    pub(crate) fn fails(&self, problem: &anyhow::Error) {
        let word = Word::Failed {
            problem: format!("{problem:#}"),
        };
        if let Err(error) = self.0.say(&word, &[]) {
            tracing::debug!(%error, "nobody is told why");
        }
    }

    /// Opens the folder as the other gate hands it over. Blocks.
    ///
    /// # Errors
    /// When something cannot be read, or the other gate goes away.
    pub(crate) fn take(&self, folder: &DataFolder, settings: &Settings) -> anyhow::Result<Taken> {
        self.0.patience(Some(PREPARING))?;
        let mut stores = Stores::open(folder.clone(), Some(settings.clone()))?;
        let hello = Word::Hello {
            hand_over: HAND_OVER,
            records: exeat_ledger::VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        self.0.say(&hello, &[])?;
        let Word::Look(place) = self.hear()?.0 else {
            bail!("the other gate does not say where its journal ends");
        };
        let ahead = stores.read_ahead(place.into())?;
        stores.compile_ahead()?;
        self.0.say(&Word::Prepared {}, &[])?;

        let (word, descriptors) = self.hear()?;
        self.0.patience(Some(TAKING))?;
        let Word::Take {
            records,
            pid,
            life,
            version,
        } = word
        else {
            bail!("the other gate hands nothing over");
        };
        let [folder_lock, ledger_lock, stream] = three(descriptors)?;
        let lock = folder.adopt_lock(folder_lock)?;
        let (sockets, sandboxes) = self.gather()?;
        let held = Held {
            lock: ledger_lock,
            records,
        };
        let (state, open) = stores.take_over(ahead, held)?;
        Ok(Taken {
            state,
            lock,
            life,
            sockets,
            sandboxes,
            open,
            records: stream.into(),
            pid,
            version,
        })
    }

    /// Everything is in place: waits for the word to begin. Blocks.
    ///
    /// # Errors
    /// When the other gate has changed its mind, or is gone; nobody may serve then.
    pub(crate) fn ready(&self) -> anyhow::Result<()> {
        self.0.say(&Word::Ready {}, &[])?;
        match self.hear()?.0 {
            Word::Go {} => Ok(()),
            other => Err(anyhow!(
                "the other gate says something unexpected: {other:?}"
            )),
        }
    }

    /// Tells the other gate something that wants no answer.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn say(&self, word: &Word) -> anyhow::Result<()> {
        self.0.say(word, &[])
    }

    fn hear(&self) -> anyhow::Result<(Word, Vec<OwnedFd>)> {
        self.0.hear()?.context("the other gate went away")
    }

    #[expect(
        clippy::type_complexity,
        reason = "two lists that are taken apart at once"
    )]
    fn gather(&self) -> anyhow::Result<(HashMap<String, OwnedFd>, Vec<(Moved, Vec<OwnedFd>)>)> {
        let (mut sockets, mut sandboxes) = (HashMap::new(), Vec::new());
        loop {
            match self.hear()? {
                (Word::Socket { name }, mut descriptors) => {
                    let socket = descriptors.pop().context("a socket is missing")?;
                    sockets.insert(name, socket);
                }
                (Word::Sandbox(sandbox), descriptors) => sandboxes.push((sandbox, descriptors)),
                (Word::All {}, _) => return Ok((sockets, sandboxes)),
                (other, _) => bail!("the other gate says something unexpected: {other:?}"),
            }
        }
    }
}

fn three(descriptors: Vec<OwnedFd>) -> anyhow::Result<[OwnedFd; 3]> {
    <[OwnedFd; 3]>::try_from(descriptors)
        .map_err(|got| anyhow!("expected three descriptors, got {}", got.len()))
}
