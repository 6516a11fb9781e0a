//! The anatomy of a Git repository, as far as it decides what Git runs.
//!
//! Git runs what `config` and `hooks` say, in every repository and submodule, and `commondir` moves both elsewhere. This
//! module names those files; it runs no Git and writes nothing.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use crate::{
    error::{Error, path as at},
    kept::Reserve,
    roots::Roots,
};

/// How deep below a project repositories are looked for.
const DEPTH_MAX: usize = 3;
/// How many folders are looked at. Nothing starts where there are more.
const FOLDERS_MAX: usize = 200_000;
/// How many folders may lie inside each other below `modules`. Nothing starts where there are more.
const MODULES_DEPTH_MAX: usize = 24;
/// Longest pointer file or settings that are read.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Folders with many entries and no repository that anybody works in.
const SKIPPED: [&str; 3] = ["node_modules", "target", ".venv"];
/// Folders of a repository in which no other one lies.
const CONTENT: [&str; 4] = ["objects", "refs", "logs", "lfs"];

/// Every repository whose settings count: those in the project, those outside that belong to it, and their submodules.
/// An error when they cannot all be found, as one that is not known is not kept.
pub(crate) fn all(roots: &Roots) -> Result<Vec<PathBuf>, Error> {
    let mut found = roots.project().map_or(Ok(Vec::new()), within)?;
    found.extend(roots.repositories().iter().cloned());
    let mut submodules = Vec::new();
    for git in &found {
        submodules.extend(modules(&git.join("modules"))?);
    }
    found.extend(submodules);
    found.sort();
    found.dedup();
    Ok(found)
}

/// Repositories in a project: its own `.git`, and those of folders a few levels down.
fn within(project: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    let (mut level, mut budget) = (vec![project.to_path_buf()], FOLDERS_MAX);
    for depth in 0..=DEPTH_MAX {
        let mut below = Vec::new();
        for folder in &level {
            let git = repository(&folder.join(".git"));
            found.extend(git.as_deref().and_then(pointed));
            found.extend(git);
            if depth < DEPTH_MAX {
                below.extend(folders(folder, &SKIPPED, &mut budget).ok_or_else(too_many(project))?);
            }
        }
        level = below;
    }
    Ok(found)
}

fn too_many(folder: &Path) -> impl FnOnce() -> Error {
    move || {
        let problem = format!(
            "more than {FOLDERS_MAX} folders are there, or more than {MODULES_DEPTH_MAX} inside each other; \
             help: remove what does not belong there, or start in a smaller folder"
        );
        at("find all repositories in", folder)(io::Error::other(problem))
    }
}

/// The repository that a pointer file names, when it has settings of its own.
fn pointed(pointer: &Path) -> Option<PathBuf> {
    let text = read(pointer)?;
    let git = text.trim_end().strip_prefix("gitdir: ")?;
    let git = fs::canonicalize(pointer.parent()?.join(git)).ok()?;
    git.join("config").is_file().then_some(git)
}

/// The repository of a linked worktree or submodule, which lies outside of the project, when that points back.
pub(crate) fn outside(project: &Path) -> Option<PathBuf> {
    let pointer = read(&project.join(".git"))?;
    let git = pointer.trim_end().strip_prefix("gitdir: ")?;
    let git = fs::canonicalize(project.join(git)).ok()?;
    if git.starts_with(project) {
        return None;
    }
    // SECURITY: the command can write the pointer, so it counts only when the repository knows of the project: by its
    // own back pointer, or because it is a submodule of a repository above.
    let back =
        read(&git.join("gitdir")).and_then(|back| fs::canonicalize(git.join(back.trim_end())).ok());
    if back.is_some_and(|back| back == project.join(".git")) {
        let common = read(&git.join("commondir"))?;
        return fs::canonicalize(git.join(common.trim_end()))
            .ok()
            .filter(|common| git.starts_with(common));
    }
    let above = project
        .ancestors()
        .skip(1)
        .map(|folder| folder.join(".git/modules"));
    let submodule = above.filter_map(|modules| fs::canonicalize(modules).ok());
    submodule
        .into_iter()
        .any(|modules| git.starts_with(modules))
        .then_some(git)
}

/// What of a repository must stay as it is: settings, what leads to them, and hooks, those in its worktrees too.
pub(crate) fn kept(git: &Path) -> Vec<PathBuf> {
    if !git.is_dir() {
        return vec![git.to_path_buf()];
    }
    let mut places: Vec<PathBuf> = [HOOKS, COMMON, CONFIG_WORKTREE, "config"]
        .map(|name| git.join(name))
        .into();
    for linked in linked(git) {
        places.extend([COMMON, CONFIG_WORKTREE, "gitdir"].map(|name| linked.join(name)));
    }
    let settings = settings(git);
    let includes = settings.iter().flat_map(|text| values(text, "path"));
    places.extend(
        includes
            .map(|value| plain(&git.join(value)))
            .filter(|path| path.is_file()),
    );
    let pointers = worktrees(git)
        .into_iter()
        .map(|worktree| worktree.join(".git"));
    places.extend(pointers.filter(|path| path.is_file()));
    let worktrees = worktrees(git);
    let hooks = hooks_folders(git).into_iter();
    places.extend(hooks.map(|hooks| standing(hooks, &worktrees)));
    places
}

/// What of a repository does not have to exist, and shall not come to be.
pub(crate) fn reserved(git: &Path, roots: &Roots) -> Vec<Reserve> {
    let Ok(git) = fs::canonicalize(git) else {
        return Vec::new();
    };
    if !git.is_dir() {
        return Vec::new();
    }
    let mut places = vec![
        Reserve::Folder(git.join(HOOKS)),
        Reserve::File(git.join(CONFIG_WORKTREE), ""),
        // It says what is so without it.
        Reserve::File(git.join(COMMON), ".\n"),
    ];
    let linked = linked(&git).into_iter();
    places.extend(linked.map(|linked| Reserve::File(linked.join(CONFIG_WORKTREE), "")));
    let missing = hooks_folders(&git)
        .into_iter()
        .filter(|path| !path.exists());
    // Where several folders are missing, the outermost stands for all.
    let outermost = missing.filter_map(|path| {
        let mut missing = path.ancestors().take_while(|path| !path.exists());
        let path = missing.by_ref().last()?;
        roots.contain(path).then(|| path.to_path_buf())
    });
    places.extend(outermost.map(Reserve::Folder));
    places
}

const HOOKS: &str = "hooks";
const COMMON: &str = "commondir";
const CONFIG_WORKTREE: &str = "config.worktree";

/// A `.git` that is a folder with settings, a link to one, or a pointer file.
fn repository(git: &Path) -> Option<PathBuf> {
    let found = fs::symlink_metadata(git).ok()?;
    let is_one = found.is_file() || git.join("config").is_file();
    is_one.then(|| git.to_path_buf())
}

/// Folders in a folder, no links. None when the budget does not last.
fn folders(folder: &Path, skipped: &[&str], budget: &mut usize) -> Option<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| {
        let name = entry.file_name();
        let skipped = name
            .to_str()
            .is_some_and(|name| skipped.contains(&name) || name == ".git");
        !skipped && entry.file_type().is_ok_and(|kind| kind.is_dir())
    });
    let mut found = Vec::new();
    for entry in folders {
        *budget = budget.checked_sub(1)?;
        found.push(entry.path());
    }
    Some(found)
}

/// Repositories of submodules below `modules`, whose names may have slashes.
fn modules(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let (mut found, mut level) = (Vec::new(), vec![folder.to_path_buf()]);
    let mut budget = FOLDERS_MAX;
    for _ in 0..MODULES_DEPTH_MAX {
        let mut below = Vec::new();
        for outer in &level {
            let is_one =
                outer != folder && (outer.join("HEAD").is_file() || outer.join("config").exists());
            // SECURITY: the command can make any folder look like a repository, so what is inside is looked at too.
            let skipped: &[&str] = if is_one { &CONTENT } else { &[] };
            below.extend(folders(outer, skipped, &mut budget).ok_or_else(too_many(folder))?);
            if is_one {
                found.push(outer.clone());
            }
        }
        level = below;
    }
    if level.is_empty() {
        Ok(found)
    } else {
        Err(too_many(folder)())
    }
}

/// What a repository knows of its linked worktrees, a folder for each.
fn linked(git: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(git.join("worktrees"));
    let entries = entries.into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Folders that a repository is checked out to.
fn worktrees(git: &Path) -> Vec<PathBuf> {
    let settings = settings(git);
    let named = settings.iter().flat_map(|text| values(text, "worktree"));
    let mut found: Vec<PathBuf> = named.map(|value| plain(&git.join(value))).collect();
    if git.file_name().is_some_and(|name| name == ".git") {
        found.extend(git.parent().map(Path::to_path_buf));
    }
    for linked in linked(git) {
        let back = read(&linked.join("gitdir")).unwrap_or_default();
        let back = plain(&linked.join(back.trim_end()));
        found.extend(
            back.parent()
                .filter(|_| back.ends_with(".git"))
                .map(Path::to_path_buf),
        );
    }
    found
}

/// Texts that may hold settings of a repository.
fn settings(git: &Path) -> Vec<String> {
    let linked = linked(git).into_iter();
    let linked = linked.map(|linked| linked.join(CONFIG_WORKTREE));
    let own = [git.join("config"), git.join(CONFIG_WORKTREE)];
    own.into_iter()
        .chain(linked)
        .filter_map(|path| read(&path))
        .collect()
}

/// Where `core.hooksPath` may lead, in each worktree. One that has a worktree inside would close it, and is left out.
fn hooks_folders(git: &Path) -> Vec<PathBuf> {
    let (settings, worktrees) = (settings(git), worktrees(git));
    let values = settings.iter().flat_map(|text| values(text, "hookspath"));
    let folders = values.flat_map(|value| {
        let places = worktrees.iter().map(|worktree| worktree.join(value));
        places.map(|path| plain(&path)).collect::<Vec<_>>()
    });
    let outside = |path: &PathBuf| !worktrees.iter().any(|worktree| worktree.starts_with(path));
    folders.filter(outside).collect()
}

/// A folder in a worktree or, where it does not exist, the part of the way to it that does: several missing folders are
/// reserved by the outermost.
fn standing(folder: PathBuf, worktrees: &[PathBuf]) -> PathBuf {
    let there = folder.ancestors().find(|path| path.exists());
    let around = |path: &&Path| worktrees.iter().any(|worktree| path.starts_with(worktree));
    let inside = |path: &&Path| worktrees.iter().any(|worktree| worktree.starts_with(path));
    let there = there.filter(|path| around(path) && !inside(path));
    there.map(Path::to_path_buf).unwrap_or(folder)
}

/// All values of a setting that are paths.
fn values<'a>(settings: &'a str, name: &str) -> Vec<&'a str> {
    let lines = settings.lines().filter_map(|line| line.split_once('='));
    let named = lines.filter(|(found, _)| {
        let found = found.rsplit(']').next().unwrap_or_default();
        found.trim().eq_ignore_ascii_case(name)
    });
    let values = named.map(|(_, value)| value.trim().trim_matches('"'));
    values
        .filter(|value| !value.is_empty() && !value.starts_with(['~', '%']))
        .collect()
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => plain.push(part),
        }
    }
    plain
}

fn read(path: &Path) -> Option<String> {
    let found = fs::symlink_metadata(path).ok()?;
    if !found.is_file() || found.len() > FILE_BYTES_MAX {
        return None;
    }
    let bytes = fs::read(path).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn submodules_are_found_wherever_their_names_lead() {
        let folder = tempfile::tempdir().unwrap();
        let modules_folder = folder.path().join("modules");
        for name in ["vendor/lib", "a", "a/b", "a/modules/target"] {
            fs::create_dir_all(modules_folder.join(name).join("objects/00")).unwrap();
            fs::write(modules_folder.join(name).join("config"), "").unwrap();
        }
        let mut found = modules(&modules_folder).unwrap();
        found.sort();
        let expect = ["a", "a/b", "a/modules/target", "vendor/lib"];
        assert_eq!(found, expect.map(|name| modules_folder.join(name)));
    }

    #[test]
    fn a_search_that_does_not_end_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let mut deep = folder.path().to_path_buf();
        deep.extend(["a"; MODULES_DEPTH_MAX]);
        fs::create_dir_all(&deep).unwrap();
        assert!(modules(folder.path()).is_err());
        assert_eq!(folders(folder.path(), &[], &mut 0), None);
        assert!(folders(folder.path(), &[], &mut 1).is_some());
    }

    #[test]
    fn hooks_are_found_in_every_worktree() {
        let folder = tempfile::tempdir().unwrap();
        let git = folder.path().join("main/.git");
        fs::create_dir_all(git.join("worktrees/side")).unwrap();
        let side = folder.path().join("side");
        fs::write(
            git.join("worktrees/side/gitdir"),
            format!("{}\n", side.join(".git").display()),
        )
        .unwrap();
        fs::write(
            git.join("config"),
            "[core] hooksPath = \"./hooks.d\"\n\thookspath = ..\n\thookspath = ~/hooks\n",
        )
        .unwrap();
        let expect = ["main/hooks.d", "side/hooks.d"].map(|name| folder.path().join(name));
        assert_eq!(hooks_folders(&git), expect);
    }
}
