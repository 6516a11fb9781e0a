//! Where a command may write: the project, temporary folders, caches, and what the operator names.
//!
//! It only finds out; nothing is made or mounted here. What the command could have prepared itself (links, the pointer
//! file of a worktree) is believed only where it cannot lead to something new.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{account::account_home, agents, repository, start::Access};

/// Folders that everybody shares for temporary files.
const SHARED: [&str; 2] = ["/tmp", "/var/tmp"];
/// Folders that are no project, though they may hold some.
const NO_PROJECT: [&str; 10] = [
    "/", "/home", "/root", "/var", "/opt", "/srv", "/mnt", "/media", "/tmp", "/var/tmp",
];
/// Folders that hold no project, unless in [`SOURCES`].
const SYSTEM: [&str; 12] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/proc",
    "/run/exeat",
    "/sbin",
    "/sys",
    "/usr",
];
/// Where some systems keep sources.
const SOURCES: [&str; 2] = ["/usr/src", "/usr/local/src"];

impl Access {
    /// Whether the project can be changed: the home folder, folders above it, and those of the system are none.
    pub fn is_project(&self) -> bool {
        let Ok(project) = fs::canonicalize(&self.project) else {
            return false;
        };
        let mut homes = self.homes().into_iter();
        let above_home = homes.any(|home| home.starts_with(&project));
        let within = |folders: &[&str]| folders.iter().any(|folder| project.starts_with(folder));
        let system = within(&SYSTEM) && !within(&SOURCES);
        project.is_dir()
            && !above_home
            && !system
            && !NO_PROJECT.map(Path::new).contains(&&*project)
    }

    /// The home folder that was named and that of the account, which may differ. Canonical, as far as they exist.
    pub(crate) fn homes(&self) -> Vec<PathBuf> {
        let homes = self.home.iter().cloned().chain(account_home());
        let mut homes: Vec<PathBuf> = homes
            .map(|home| fs::canonicalize(&home).unwrap_or(home))
            .collect();
        homes.dedup();
        homes
    }
}

/// Folders, and a few files, below which a command may write. Canonical paths, outer ones first.
#[derive(Debug)]
pub(crate) struct Roots {
    paths: Vec<PathBuf>,
    project: Option<PathBuf>,
    repositories: Vec<PathBuf>,
}

impl Roots {
    /// Finds what exists.
    pub(crate) fn find(access: &Access) -> Self {
        let project = access
            .is_project()
            .then(|| fs::canonicalize(&access.project).ok())
            .flatten();
        let repositories: Vec<PathBuf> = project
            .as_deref()
            .and_then(repository::outside)
            .into_iter()
            .collect();
        let mut paths: Vec<PathBuf> = SHARED.iter().map(PathBuf::from).collect();
        paths.extend(
            access
                .home
                .as_deref()
                .map(agents::caches)
                .into_iter()
                .flatten(),
        );
        paths.extend(access.write.iter().cloned());
        let found = paths.iter().filter_map(|path| fs::canonicalize(path).ok());
        let mut paths: Vec<PathBuf> = found
            .chain(project.clone())
            .chain(repositories.clone())
            .collect();
        paths.retain(|path| path != Path::new("/"));
        paths.sort_by_key(|path| (path.components().count(), path.clone()));
        paths.dedup();
        Self {
            paths,
            project,
            repositories,
        }
    }

    /// All of them.
    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// The project, when it can be changed.
    pub(crate) fn project(&self) -> Option<&Path> {
        self.project.as_deref()
    }

    /// Repositories outside of the project that belong to it.
    pub(crate) fn repositories(&self) -> &[PathBuf] {
        &self.repositories
    }

    /// The outermost one that contains a path, and the path below it.
    pub(crate) fn outermost<'a>(&'a self, path: &'a Path) -> Option<(&'a Path, &'a Path)> {
        let mut found = self.paths.iter().filter_map(|root| {
            let below = path.strip_prefix(root).ok()?;
            Some((root.as_path(), below))
        });
        found.next()
    }

    /// Whether a path lies in one.
    pub(crate) fn contain(&self, path: &Path) -> bool {
        self.outermost(path).is_some()
    }
}
