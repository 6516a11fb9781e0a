//! The filesystem of a tool: a new and empty one, with the programs of the system and what was granted in it.
//!
//! Where the sandbox of an agent shows everything but what is hidden, this one shows nothing but what is named. The second
//! wall (`confine.rs`) stands in it as well. Every failure ends the start.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use rustix::{
    mount::{
        MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, mount_remount,
        unmount,
    },
    process::{Resource, Rlimit, chdir, pivot_root, setrlimit},
    system::uname,
};

use crate::{
    account::account_home,
    devices,
    environment::FILES,
    error::{Error, path as at, system},
    hidden,
    kept::{self, Kept, kept},
    mounts::{
        Kind, RESOLV_CONF, Walls, closed, cover, cover_sockets, file, folder, replace_resolv_conf,
        write_files,
    },
    order::Order,
    roots::Roots,
    start::Access,
    sys, system_roots,
    tree::{Tree, close, pin},
};

/// What a tool may see and change, and how far it may spread.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Narrow {
    /// What it may read, besides the programs and libraries of the system.
    pub read: Vec<PathBuf>,
    /// What it may read and change.
    pub write: Vec<PathBuf>,
}

/// Where the new root is put together.
const STAGE: &str = "/tmp";
/// Programs, libraries and settings of the system. What does not exist is left out; a link stays one.
const SYSTEM: [&str; 9] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc",
    "/nix/store",
    "/gnu/store",
];
/// What is made anew, and so is never granted.
const OURS: [&str; 4] = ["/proc", "/dev", "/sys", "/run/exeat"];
/// The most processes and threads in one sandbox of a tool.
const PROCESSES_MAX: u64 = 512;
/// Numbers below this are not given to processes of a namespace once it has wrapped around.
const RESERVED_PIDS: u64 = 300;

/// Builds the new root in the mount namespace of this process, and moves there. `sockets` are those that others have bound.
pub(crate) fn build(order: &Order, narrow: &Narrow, sockets: &[PathBuf]) -> Result<Walls, Error> {
    let Order { hide, files, .. } = order;
    let resolv_conf = fs::canonicalize(RESOLV_CONF).ok();
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(at("make private", "/"))?;
    let mut grants = grants(narrow)?;
    let system = copy_system()?;
    let own = ["/proc", "/dev"].map(|path| Ok((PathBuf::from(path), Tree::copy(Path::new(path))?)));
    let own = own.into_iter().collect::<Result<Vec<_>, Error>>()?;
    let write: Vec<PathBuf> = written(&grants);
    let granted: Vec<PathBuf> = grants.iter().map(|grant| grant.path.clone()).collect();
    mount(
        "tmpfs",
        STAGE,
        "tmpfs",
        closed(),
        Some(c"mode=0755,size=4m"),
    )
    .map_err(at("cover", STAGE))?;
    for part in system {
        part.place()?;
    }
    for (path, tree) in own {
        let place = staged(&path);
        folder(&place)?;
        tree.attach(&place)?;
    }
    temporary()?;
    grants.sort_by_key(|grant| (grant.path.components().count(), grant.path.clone()));
    for grant in grants {
        let place = staged(&grant.path);
        stand(&place, grant.kind)?;
        grant.tree.attach(&place)?;
    }
    enter()?;
    furnish(files, resolv_conf.as_deref())?;
    let hidden = conceal(&granted, hide)?;
    // Whoever listens there acts for somebody outside.
    cover_sockets(sockets)?;
    keep(&write)?;
    keep_deciding(&order.access.keep, &write)?;
    devices::replace()?;
    let read_only = closed() | MountFlags::RDONLY;
    mount_remount("/", read_only, c"mode=0755,size=4m").map_err(at("close", "/"))?;
    let mut roots = write;
    roots.push("/tmp".into());
    Ok(Walls { roots, hidden })
}

/// Bounds how many processes there can be, so that a tool that multiplies ends itself and nothing else. To be called with a
/// fresh `/proc` in the process namespace that is bounded.
pub(crate) fn bound_processes() -> Result<(), Error> {
    let limit = Rlimit {
        current: Some(PROCESSES_MAX),
        maximum: Some(PROCESSES_MAX),
    };
    setrlimit(Resource::Nproc, limit).map_err(system("bound the number of processes"))?;
    // The kernel spares the user `root` that limit. SECURITY: before 6.14 this setting was one for the whole machine.
    if numbers_are_of_a_namespace(uname().release().to_str().unwrap_or_default()) {
        let file = "/proc/sys/kernel/pid_max";
        let most = PROCESSES_MAX.saturating_add(RESERVED_PIDS).to_string();
        fs::write(file, most).map_err(at("write", file))?;
    }
    Ok(())
}

fn numbers_are_of_a_namespace(release: &str) -> bool {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (6, 14),
        _ => false,
    }
}

/// A path that was granted, held as it was when it was looked at.
struct Grant {
    path: PathBuf,
    tree: Tree,
    kind: Kind,
    writable: bool,
}

fn grants(narrow: &Narrow) -> Result<Vec<Grant>, Error> {
    let read = narrow.read.iter().map(|path| (path, false));
    let write = narrow.write.iter().map(|path| (path, true));
    let mut grants: Vec<Grant> = Vec::new();
    for (path, writable) in read.chain(write) {
        let real = fs::canonicalize(path).map_err(at("grant", path))?;
        let never = real == Path::new("/") || OURS.iter().any(|ours| real.starts_with(ours));
        if never {
            let refused = io::Error::from(io::ErrorKind::InvalidInput);
            return Err(at("grant", path)(refused));
        }
        grants.retain(|known| known.path != real);
        let tree = Tree::copy(&real)?;
        if !writable {
            sys::set_read_only(tree.as_fd()).map_err(at("close", &real))?;
        }
        let kind = Kind::of(&real);
        grants.push(Grant {
            path: real,
            tree,
            kind,
            writable,
        });
    }
    Ok(grants)
}

fn written(grants: &[Grant]) -> Vec<PathBuf> {
    let written = grants.iter().filter(|grant| grant.writable);
    written.map(|grant| grant.path.clone()).collect()
}

/// A part of the system, about to be placed.
enum Part {
    Folder(PathBuf, Tree),
    Link(PathBuf, PathBuf),
}

impl Part {
    fn place(self) -> Result<(), Error> {
        match self {
            Self::Folder(path, tree) => {
                let place = staged(&path);
                folder(&place)?;
                tree.attach(&place)
            }
            Self::Link(path, target) => {
                let place = staged(&path);
                symlink(target, &place).map_err(at("link", place))
            }
        }
    }
}

fn copy_system() -> Result<Vec<Part>, Error> {
    let mut parts = Vec::new();
    for path in SYSTEM.map(PathBuf::from) {
        let Ok(found) = fs::symlink_metadata(&path) else {
            continue;
        };
        if found.is_symlink() {
            let target = fs::read_link(&path).map_err(at("read", &path))?;
            parts.push(Part::Link(path, target));
        } else if found.is_dir() {
            let tree = Tree::copy(&path)?;
            sys::set_read_only(tree.as_fd()).map_err(at("close", &path))?;
            parts.push(Part::Folder(path, tree));
        }
    }
    Ok(parts)
}

fn staged(path: &Path) -> PathBuf {
    Path::new(STAGE).join(path.strip_prefix("/").unwrap_or(path))
}

/// Makes a place to mount at, unless there is one already.
fn stand(place: &Path, kind: Kind) -> Result<(), Error> {
    if place.exists() {
        return Ok(());
    }
    match kind {
        Kind::Folder => folder(place),
        Kind::File => {
            place.parent().map_or(Ok(()), folder)?;
            file(place, &[])
        }
    }
}

/// Makes the stage the root, and lets go of the old one.
fn enter() -> Result<(), Error> {
    chdir(STAGE).map_err(at("enter", STAGE))?;
    pivot_root(".", ".").map_err(at("move to", STAGE))?;
    unmount(".", UnmountFlags::DETACH).map_err(at("let go of", "/"))?;
    chdir("/").map_err(at("enter", "/"))
}

/// A folder for temporary files of its own.
fn temporary() -> Result<(), Error> {
    let place = staged(Path::new("/tmp"));
    folder(&place)?;
    let options = Some(c"mode=1777,size=256m");
    mount("tmpfs", &place, "tmpfs", closed(), options).map_err(at("mount", place))
}

/// What programs expect to find, and the files of the caller.
fn furnish(files: &[(PathBuf, Vec<u8>)], resolv_conf: Option<&Path>) -> Result<(), Error> {
    for path in ["/run", "/var/tmp", "/sys", FILES] {
        folder(Path::new(path))?;
    }
    write_files(files)?;
    // Where it leads may be a place that is not there any more.
    resolv_conf.map_or(Ok(()), replace_resolv_conf)?;
    system_roots::replace()
}

/// Covers credentials and what the caller hides. What was granted by name of a credential stays, and nothing beside it.
fn conceal(granted: &[PathBuf], hide: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let nobody = Access {
        home: account_home(),
        project: PathBuf::new(),
        write: Vec::new(),
        keep: Vec::new(),
    };
    let mut hidden = hidden::credentials(&nobody);
    hidden.retain(|place| !granted.contains(place));
    let (shown, mut hidden): (Vec<_>, Vec<_>) = hidden
        .into_iter()
        .partition(|place| granted.iter().any(|path| path.starts_with(place)));
    for place in shown {
        let named = granted.iter().filter(|path| path.starts_with(&place));
        reveal(&place, named)?;
    }
    hidden.extend(hide.iter().cloned());
    for path in &hidden {
        cover(path)?;
    }
    Ok(hidden)
}

/// Empties a folder of credentials but for what was granted of it by name.
fn reveal<'g>(place: &Path, named: impl Iterator<Item = &'g PathBuf>) -> Result<(), Error> {
    let held = named.map(|path| Ok((path, Tree::copy(path)?, Kind::of(path))));
    let held = held.collect::<Result<Vec<_>, Error>>()?;
    let options = c"mode=0755,size=1m";
    mount("tmpfs", place, "tmpfs", closed(), Some(options)).map_err(at("hide", place))?;
    for (path, tree, kind) in held {
        stand(path, kind)?;
        tree.attach(path)?;
    }
    mount_remount(place, closed() | MountFlags::RDONLY, options).map_err(at("close", place))
}

/// SECURITY: what others run without asking, hooks of a repository for one, is closed where a tool may write, as it is for an
/// agent: the agent says what the tool does.
fn keep(write: &[PathBuf]) -> Result<(), Error> {
    for grant in write {
        let access = Access {
            home: account_home(),
            project: grant.clone(),
            write: Vec::new(),
            keep: Vec::new(),
        };
        let Kept { pinned, closed } = kept(&access, &Roots::find(&access))?;
        let inside = |path: &&PathBuf| path.starts_with(grant);
        pinned
            .iter()
            .filter(inside)
            .try_for_each(|path| pin(path))?;
        closed
            .iter()
            .filter(inside)
            .try_for_each(|path| close(path))?;
    }
    Ok(())
}

/// SECURITY: comes after everything else that is mounted in the grants, so that nothing lies over it.
fn keep_deciding(keep: &[PathBuf], write: &[PathBuf]) -> Result<(), Error> {
    let Kept { pinned, closed } = kept::deciding(keep, write);
    pinned.iter().try_for_each(|path| pin(path))?;
    closed.iter().try_for_each(|path| close(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_kernel_that_numbers_processes_for_each_namespace_is_told_how_far() {
        for release in ["6.14.0", "6.18.44-fc-v595", "7.0", "10.2.1"] {
            assert!(numbers_are_of_a_namespace(release), "{release}");
        }
        for release in ["6.13.9", "5.15.0", "", "x", "6"] {
            assert!(!numbers_are_of_a_namespace(release), "{release}");
        }
    }
}
