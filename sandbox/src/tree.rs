//! Parts of the filesystem as things to hold: copied, closed, and put somewhere, without a moment in which a path could
//! mean something else.

use std::{
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{CWD, Mode, OFlags, open},
    mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree},
};

use crate::{
    error::{Error, path as at},
    sys,
};

/// A copy of everything that is mounted at and below a path, mounted nowhere yet.
pub(crate) struct Tree(OwnedFd);

impl Tree {
    /// Copies what is at a path; of a link, the link itself.
    pub(crate) fn copy(path: &Path) -> Result<Self, Error> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE
            | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
        open_tree(CWD, path, flags)
            .map(Self)
            .map_err(at("copy the mounts of", path))
    }

    /// The copy, to change it before it is mounted.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Mounts the copy at a path.
    pub(crate) fn attach(self, path: &Path) -> Result<(), Error> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&self.0, "", CWD, path, flags).map_err(at("mount", path))
    }
}

/// Mounts a path over itself, so that nothing inside can move it.
pub(crate) fn pin(path: &Path) -> Result<(), Error> {
    Tree::copy(path)?.attach(path)
}

/// Mounts a path over itself, read-only.
pub(crate) fn close(path: &Path) -> Result<(), Error> {
    let tree = Tree::copy(path)?;
    sys::set_read_only(tree.0.as_fd()).map_err(at("close", path))?;
    tree.attach(path)
}

/// Makes the whole filesystem read-only, every mount of it.
pub(crate) fn close_all() -> Result<(), Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = open("/", flags, Mode::empty()).map_err(at("open", "/"))?;
    sys::set_read_only(root.as_fd()).map_err(at("close", "/"))
}
