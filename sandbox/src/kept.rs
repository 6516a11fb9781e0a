//! What a command must never change, also where it may write: files that somebody else runs without asking.
//!
//! Start-up files of shells, hooks and settings of repositories, tasks of editors, settings of agents: who writes there
//! runs outside the sandbox, later. Two tables and the anatomy of a repository (`repository.rs`) say what they are; this
//! module only names places and touches nothing.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::process::getuid;

use crate::{account::account_name, agents, error::Error, repository, roots::Roots, start::Access};

/// Places below a home folder. A name that ends with `/` is a folder.
const IN_HOME: &[&str] = &[
    ".bashrc",
    ".bash_profile",
    ".bash_login",
    ".bash_logout",
    ".bash_aliases",
    ".profile",
    ".zshrc",
    ".zshenv",
    ".zprofile",
    ".zlogin",
    ".zlogout",
    ".kshrc",
    ".mkshrc",
    ".cshrc",
    ".tcshrc",
    ".login",
    ".inputrc",
    ".config/fish/",
    ".config/nushell/",
    ".oh-my-zsh/",
    ".config/zsh/",
    ".config/direnv/",
    ".xprofile",
    ".xinitrc",
    ".xsession",
    ".xsessionrc",
    ".Xresources",
    ".pam_environment",
    ".config/autostart/",
    ".config/autostart-scripts/",
    ".config/environment.d/",
    ".config/systemd/",
    ".local/share/systemd/",
    ".local/share/applications/",
    ".local/share/dbus-1/",
    ".local/share/kservices5/",
    ".config/plasma-workspace/",
    ".config/hypr/",
    ".config/sway/",
    ".config/i3/",
    "bin/",
    ".bin/",
    ".local/bin/",
    ".local/lib/",
    ".cargo/bin/",
    ".cargo/env",
    ".cargo/config",
    ".cargo/config.toml",
    ".rustup/",
    "go/bin/",
    ".bun/bin/",
    ".deno/bin/",
    ".npm-global/",
    ".nvm/",
    ".pyenv/",
    ".rbenv/",
    ".asdf/",
    ".local/share/mise/",
    ".config/mise/",
    ".sdkman/",
    ".gradle/init.d/",
    ".gradle/init.gradle",
    ".gradle/init.gradle.kts",
    ".gradle/gradle.properties",
    ".mvn/",
    ".gitconfig",
    ".config/git/",
    ".gitattributes",
    ".hgrc",
    ".curlrc",
    ".wgetrc",
    ".vim/",
    ".config/nvim/",
    ".emacs",
    ".emacs.d/",
    ".config/emacs/",
    ".nanorc",
    ".config/gdb/",
    ".tmux.conf",
    ".config/tmux/",
    ".screenrc",
    ".ripgreprc",
    ".pythonrc",
    ".pdbrc",
    ".irbrc",
    ".ssh/",
    ".gnupg/",
    ".config/exeat/",
    ".vscode-server/",
    ".cursor/extensions/",
    ".cache/gitstatus/",
    ".config/Code/",
    ".config/Cursor/",
    ".config/zed/",
    ".claude/local/",
    ".claude/plugins/",
    ".gemini/commands/",
];

/// Places below a project. A name that ends with `/` is a folder.
const IN_PROJECT: &[&str] = &[
    ".idea/",
    ".devcontainer/",
    ".devcontainer.json",
    ".fleet/",
    ".zed/",
    ".vs/",
    ".envrc",
    ".nvimrc",
    ".nvim.lua",
    ".dir-locals.el",
    ".husky/",
    ".githooks/",
];

/// Places that are kept in both: what editors, debuggers and agents take orders from.
const IN_BOTH: &[&str] = &[
    ".vscode/",
    ".exrc",
    ".vimrc",
    ".gdbinit",
    ".lldbinit",
    ".mcp.json",
    ".claude/settings.json",
    ".claude/settings.local.json",
    ".claude/hooks/",
    ".claude/commands/",
    ".claude/agents/",
    ".cursor/mcp.json",
    ".cursor/hooks.json",
    ".gemini/settings.json",
    ".codex/config.toml",
    ".codex/hooks.json",
    ".qwen/settings.json",
];

/// Places below a home folder that are kept. A name that ends with `/` is a folder.
pub fn kept_in_home() -> impl Iterator<Item = &'static &'static str> {
    IN_HOME.iter().chain(IN_BOTH)
}

/// Places below a project that are kept. A name that ends with `/` is a folder.
pub fn kept_in_project() -> impl Iterator<Item = &'static &'static str> {
    IN_PROJECT.iter().chain(IN_BOTH)
}

/// Folders of editors that are made for the time of a run, so that no command can make them.
const RESERVED_IN_PROJECT: &[&str] = &[".vscode", ".idea", ".devcontainer"];

/// A place that shall not come to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reserve {
    /// An empty folder takes it.
    Folder(PathBuf),
    /// An empty folder that only its owner may enter.
    Private(PathBuf),
    /// A file that says nothing takes it.
    File(PathBuf, &'static str),
}

/// What does not exist yet and shall not be made by the command either, and folders of caches, which it could not make.
pub(crate) fn reserved(access: &Access, roots: &Roots) -> Result<Vec<Reserve>, Error> {
    // A terminal multiplexer that is started later would listen there, and type whatever it is told.
    let tmux = format!("/tmp/tmux-{}", getuid().as_raw());
    let mut places = vec![Reserve::Private(tmux.into())];
    if let Some(project) = roots.project().filter(|project| is_in_use(project)) {
        let folders = RESERVED_IN_PROJECT.iter().map(|name| project.join(name));
        places.extend(folders.map(Reserve::Folder));
    }
    for git in repository::all(roots)? {
        places.extend(repository::reserved(&git, roots));
    }
    let missing = access.keep.iter().filter(|path| roots.contain(path));
    places.extend(missing.map(|path| Reserve::like(path)));
    if let Some(Ok(home)) = access.home.as_deref().map(fs::canonicalize) {
        places.extend(agents::cache_folders(&home).map(Reserve::Folder));
    }
    for home in access.homes() {
        let writable = kept_in_home().filter(|name| roots.contain(&home.join(name)));
        places.extend(writable.map(|name| match name.strip_suffix('/') {
            Some(folder) => Reserve::Folder(home.join(folder)),
            None if name.ends_with(".json") => Reserve::File(home.join(name), "{}\n"),
            None => Reserve::File(home.join(name), ""),
        }));
        let prompts = account_name()
            .into_iter()
            .flat_map(|name| [".zsh", ".zsh.zwc"].map(|ending| format!("{PROMPT}{name}{ending}")));
        let prompts = prompts.map(|name| home.join(PROMPT_FOLDER).join(name));
        let prompts = prompts.filter(|path| roots.contain(path));
        places.extend(prompts.map(|path| Reserve::File(path, "")));
    }
    Ok(places)
}

impl Reserve {
    /// A file where the name looks like one.
    fn like(path: &Path) -> Self {
        match path.extension() {
            Some(_) => Self::File(path.to_owned(), ""),
            None => Self::Folder(path.to_owned()),
        }
    }
}

/// What decides over a tool and lies where it may write: it shall not make it either.
pub(crate) fn deciding_places(keep: &[PathBuf], write: &[PathBuf]) -> Vec<Reserve> {
    let grants = write.iter().filter_map(|path| fs::canonicalize(path).ok());
    let grants: Vec<PathBuf> = grants.collect();
    let granted = |path: &&PathBuf| grants.iter().any(|grant| path.starts_with(grant));
    keep.iter()
        .filter(granted)
        .map(|path| Reserve::like(path))
        .collect()
}

/// How to keep what decides over a tool: its places in what was granted, and grants inside of such a place.
pub(crate) fn deciding(keep: &[PathBuf], grants: &[PathBuf]) -> Kept {
    let roots = Roots::find(&Access {
        home: None,
        project: PathBuf::from("/"),
        write: grants.to_vec(),
        keep: Vec::new(),
    });
    let mut kept = Kept::default();
    for place in keep {
        kept.add(place, &roots, LINKS_MAX);
    }
    let inside = |grant: &&PathBuf| keep.iter().any(|place| grant.starts_with(place));
    kept.closed.extend(grants.iter().filter(inside).cloned());
    // The temporary folder of a tool is its own.
    let granted = |path: &PathBuf| grants.iter().any(|grant| path.starts_with(grant));
    kept.pinned.retain(granted);
    kept.closed.retain(granted);
    kept.sort();
    kept
}

/// Where a prompt of zsh keeps what every new shell runs first, in a folder of caches.
const PROMPT_FOLDER: &str = ".cache";
/// How the names of such files begin.
const PROMPT: &str = "p10k-instant-prompt-";

/// Such files of all accounts, compiled ones too.
fn prompts(home: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(home.join(PROMPT_FOLDER));
    let entries = entries.into_iter().flatten().flatten();
    let prompts = entries.filter(|entry| {
        let name = entry.file_name();
        name.to_str().is_some_and(|name| name.starts_with(PROMPT))
    });
    prompts.map(|entry| entry.path()).collect()
}

/// Whether anything is there: programs that begin a project want an empty folder.
fn is_in_use(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

/// How to keep the places: what becomes a mount of its own, so that it cannot be moved away, and what is closed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Mounted over itself. Parents come before their children.
    pub(crate) pinned: Vec<PathBuf>,
    /// Mounted over itself, read-only.
    pub(crate) closed: Vec<PathBuf>,
}

/// Longest chain of links that is followed.
const LINKS_MAX: usize = 8;

/// Everything to keep that exists.
pub(crate) fn kept(access: &Access, roots: &Roots) -> Result<Kept, Error> {
    let mut places = Vec::new();
    for home in access.homes() {
        places.extend(kept_in_home().map(|name| home.join(name)));
        places.extend(prompts(&home));
    }
    if let Some(project) = roots.project() {
        places.extend(kept_in_project().map(|name| project.join(name)));
    }
    for git in repository::all(roots)? {
        places.extend(repository::kept(&git));
    }
    let named = |place: &PathBuf| access.write.iter().any(|path| path.starts_with(place));
    places.retain(|place| !named(place));
    // SECURITY: what decides over the command is closed even where its folder was granted by name.
    places.extend(access.keep.iter().cloned());
    let mut kept = Kept::default();
    for place in &places {
        kept.add(place, roots, LINKS_MAX);
    }
    kept.sort();
    Ok(kept)
}

impl Kept {
    fn sort(&mut self) {
        for list in [&mut self.pinned, &mut self.closed] {
            list.sort_by_key(|path| (path.components().count(), path.clone()));
            list.dedup();
        }
    }

    /// Walks down from where the command may write. A folder on the way, or a link, could be moved aside, so it is pinned.
    fn add(&mut self, place: &Path, roots: &Roots, links: usize) {
        let Some((root, below)) = roots.outermost(place) else {
            return;
        };
        let mut here = root.to_path_buf();
        let mut names = below.components().peekable();
        if names.peek().is_none() {
            self.closed.push(here);
            return;
        }
        while let Some(name) = names.next() {
            here.push(name);
            let Ok(found) = fs::symlink_metadata(&here) else {
                return;
            };
            if found.is_symlink() {
                if let (Ok(target), Some(links)) = (fs::canonicalize(&here), links.checked_sub(1)) {
                    let rest: PathBuf = names.collect();
                    // An empty rest would add a separator, and a file with one is no file.
                    let target = if rest.as_os_str().is_empty() {
                        target
                    } else {
                        target.join(rest)
                    };
                    self.add(&target, roots, links);
                }
                self.pinned.push(here);
                return;
            }
            if names.peek().is_some() {
                self.pinned.push(here.clone());
            }
        }
        self.closed.push(here);
    }
}
