//! Landlock: the second wall around the filesystem, and the one that keeps unknown files out.
//!
//! The mounts say where writing and reading end (`mounts.rs`); Landlock says it once more, by other code of the kernel,
//! and for what appears later: in a folder that holds credentials, only what was there at the start can be read.

use std::{
    fs, io,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, PathBeneath, Ruleset, RulesetAttr as _, RulesetCreated,
    RulesetCreatedAttr as _, RulesetError, Scope,
};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};

use crate::{
    error::{Error, system},
    sys,
};

/// The newest interface that is used. What a kernel does not know is left out, and [`gaps`] names it.
const NEWEST: ABI = ABI::V9;
/// The version that knows every right and scope that the seal relies on.
const EXPECTED_VERSION: u32 = 6;
/// Where programs write without owning a file: devices, runtime files, their own process.
const WRITABLE: [&str; 3] = ["/dev", "/proc", "/run"];
/// Most grants; a folder with more entries stays unreadable in part.
const GRANTS_MAX: usize = 16_384;

/// Something that this kernel does not enforce.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Gap {
    /// The kernel has no Landlock, or it is not switched on.
    #[error("this kernel does not offer Landlock: only mounts confine the filesystem")]
    NoLandlock,
    /// The kernel has an old Landlock.
    #[error(
        "this kernel offers Landlock {found}, not {EXPECTED_VERSION}: parts of the second wall are missing"
    )]
    OldLandlock {
        /// Its version.
        found: u32,
    },
}

/// What this kernel cannot enforce of the seal; nothing, as a rule. What is missing otherwise ends the start.
pub fn gaps() -> Vec<Gap> {
    match sys::landlock_version() {
        None => vec![Gap::NoLandlock],
        Some(found) if found < EXPECTED_VERSION => vec![Gap::OldLandlock { found }],
        Some(_enough) => Vec::new(),
    }
}

/// Confines this process and all that it will start: it writes below `roots` only, and reads everything but `hidden`.
pub(crate) fn confine(roots: &[PathBuf], hidden: &[PathBuf]) -> Result<(), Error> {
    apply(roots, hidden)
        .map_err(io::Error::other)
        .map_err(system("confine the filesystem"))
}

fn apply(roots: &[PathBuf], hidden: &[PathBuf]) -> Result<(), RulesetError> {
    let everything = AccessFs::from_all(NEWEST);
    let mut rules = Ruleset::default()
        .handle_access(everything)?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    // Connecting to a socket of somebody outside is granted nowhere.
    let write = everything & !BitFlags::from(AccessFs::ResolveUnix);
    let read = AccessFs::from_read(NEWEST);
    for path in WRITABLE
        .iter()
        .map(Path::new)
        .chain(roots.iter().map(PathBuf::as_path))
    {
        rules = grant(rules, path, write)?;
    }
    rules = grant(rules, Path::new("/"), AccessFs::ReadDir.into())?;
    let mut readable = Vec::new();
    split(Path::new("/"), hidden, &mut readable);
    for path in readable {
        rules = grant(rules, &path, read)?;
    }
    rules.restrict_self().map(drop)
}

/// Grants rights on a path. What cannot be opened is not granted.
fn grant(
    rules: RulesetCreated,
    path: &Path,
    rights: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let Some((place, is_folder)) = opened(path) else {
        return Ok(rules);
    };
    let rights = if is_folder {
        rights
    } else {
        rights & AccessFs::from_file(NEWEST)
    };
    rules.add_rule(PathBeneath::new(place.as_fd(), rights))
}

/// A path without following a link, as the place that a link leads to is judged by itself.
fn opened(path: &Path) -> Option<(OwnedFd, bool)> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = open(path, flags, Mode::empty()).ok()?;
    match FileType::from_raw_mode(fstat(&place).ok()?.st_mode) {
        FileType::Symlink => None,
        kind => Some((place, kind == FileType::Directory)),
    }
}

/// The largest parts of a folder that contain nothing hidden.
fn split(folder: &Path, hidden: &[PathBuf], parts: &mut Vec<PathBuf>) {
    if parts.len() >= GRANTS_MAX {
        return;
    }
    let inside = |path: &&PathBuf| path.starts_with(folder);
    let hidden: Vec<PathBuf> = hidden.iter().filter(inside).cloned().collect();
    if hidden.is_empty() {
        parts.push(folder.to_path_buf());
    } else if !hidden.iter().any(|path| path == folder) {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let entries =
            entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_symlink()));
        for entry in entries {
            split(&entry.path(), &hidden, parts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_split_around_what_is_hidden() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        for name in ["config/git", "config/gh", "ssh", "work/deep"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        std::os::unix::fs::symlink("ssh", root.join("link")).unwrap();
        let hidden = ["ssh", "config/gh", "none/such"].map(|name| root.join(name));
        let mut parts = Vec::new();
        split(&root, &hidden, &mut parts);
        parts.sort();
        assert_eq!(parts, ["config/git", "work"].map(|name| root.join(name)));
    }
}
