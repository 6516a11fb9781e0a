//! The order that stage one is given, as it crosses the control socket.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::PathBuf,
};

use crate::{Error, channel::Channel, start::Access};

/// What stage one is told to run.
pub(crate) struct Order {
    pub(crate) argv: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) hide: Vec<PathBuf>,
    pub(crate) access: Access,
    pub(crate) workdir: PathBuf,
    pub(crate) files: Vec<(PathBuf, Vec<u8>)>,
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
        channel.send(&self.files.iter().flat_map(file).collect::<Vec<_>>(), &[])
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
        Ok(Self {
            argv,
            env,
            hide,
            access,
            workdir: text(workdir).into(),
            files,
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
