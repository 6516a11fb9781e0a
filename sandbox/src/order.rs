//! The order that stage one is given, as it crosses the control socket.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::PathBuf,
};

use crate::{Error, Narrow, channel::Channel, start::Access};

/// What stage one is told to run.
pub(crate) struct Order {
    pub(crate) argv: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) hide: Vec<PathBuf>,
    pub(crate) access: Access,
    pub(crate) workdir: PathBuf,
    pub(crate) files: Vec<(PathBuf, Vec<u8>)>,
    /// The sandbox of a tool, which sees nothing but this.
    pub(crate) narrow: Option<Narrow>,
}

/// Whether the number of processes inside is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spread {
    Free,
    Bounded,
}

impl Spread {
    /// The word that crosses the control socket.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Bounded => "bounded",
        }
    }

    /// Anything but a clear word is refused.
    pub(crate) fn from_word(word: &[u8]) -> Result<Self, Error> {
        let known = [Self::Free, Self::Bounded].into_iter();
        let mut known = known.filter(|spread| spread.word().as_bytes() == word);
        known.next().ok_or(Error::Protocol)
    }
}

impl Order {
    pub(crate) fn send(&self, channel: &Channel) -> Result<(), Error> {
        let bytes = |text: &OsString| text.as_bytes().to_vec();
        let pair = |(name, value): &(OsString, OsString)| [bytes(name), bytes(value)];
        let path = |path: &PathBuf| path.as_os_str().as_bytes().to_vec();
        let file = |(name, content): &(PathBuf, Vec<u8>)| [path(name), content.clone()];
        channel.send(&self.argv.iter().map(bytes).collect::<Vec<_>>(), &[])?;
        channel.send(&self.env.iter().flat_map(pair).collect::<Vec<_>>(), &[])?;
        channel.send(&self.hide.iter().map(path).collect::<Vec<_>>(), &[])?;
        let Access {
            home,
            project,
            write,
            keep,
        } = &self.access;
        let home = home.as_ref().map(path).unwrap_or_default();
        let access = [home, path(project)].into_iter();
        channel.send(
            &access.chain(write.iter().map(path)).collect::<Vec<_>>(),
            &[],
        )?;
        channel.send(&keep.iter().map(path).collect::<Vec<_>>(), &[])?;
        channel.send(&[path(&self.workdir)], &[])?;
        channel.send(&self.files.iter().flat_map(file).collect::<Vec<_>>(), &[])?;
        channel.send(&[self.spread().word()], &[])?;
        let narrow = self.narrow.clone().unwrap_or_default();
        for paths in [&narrow.read, &narrow.write] {
            channel.send(&paths.iter().map(path).collect::<Vec<_>>(), &[])?;
        }
        Ok(())
    }

    /// How far the command may spread: the word also says whether this is a tool.
    pub(crate) const fn spread(&self) -> Spread {
        match self.narrow {
            Some(_) => Spread::Bounded,
            None => Spread::Free,
        }
    }

    pub(crate) fn receive(channel: &Channel) -> Result<Self, Error> {
        let list = || channel.receive().map(|(list, _)| list);
        let argv = list()?.into_iter().map(OsString::from_vec).collect();
        let env = pairs(list()?)?;
        let env = env
            .into_iter()
            .map(|[name, value]| (text(name), text(value)))
            .collect();
        let hide = list()?.into_iter().map(|path| text(path).into()).collect();
        let mut access = list()?.into_iter().map(|path| PathBuf::from(text(path)));
        let access = Access {
            home: access.next().filter(|home| !home.as_os_str().is_empty()),
            project: access.next().ok_or(Error::Protocol)?,
            write: access.collect(),
            keep: list()?.into_iter().map(|path| text(path).into()).collect(),
        };
        let [workdir] = <[Vec<u8>; 1]>::try_from(list()?).map_err(|_count| Error::Protocol)?;
        let files = pairs(list()?)?;
        let files = files
            .into_iter()
            .map(|[path, content]| (text(path).into(), content))
            .collect();
        let [word] = <[Vec<u8>; 1]>::try_from(list()?).map_err(|_count| Error::Protocol)?;
        let paths = || -> Result<Vec<PathBuf>, Error> {
            Ok(list()?.into_iter().map(|path| text(path).into()).collect())
        };
        let (read, write) = (paths()?, paths()?);
        let narrow = match Spread::from_word(&word)? {
            Spread::Free => None,
            Spread::Bounded => Some(Narrow { read, write }),
        };
        Ok(Self {
            argv,
            env,
            hide,
            access,
            workdir: text(workdir).into(),
            files,
            narrow,
        })
    }
}

fn text(bytes: Vec<u8>) -> OsString {
    OsString::from_vec(bytes)
}

/// A flat list as pairs.
pub(crate) fn pairs(list: Vec<Vec<u8>>) -> Result<Vec<[Vec<u8>; 2]>, Error> {
    let mut list = list.into_iter();
    let mut pairs = Vec::new();
    while let Some(first) = list.next() {
        pairs.push([first, list.next().ok_or(Error::Protocol)?]);
    }
    Ok(pairs)
}
