//! Where agents and build tools keep their state below a home folder.
//!
//! The home folder can be read inside a sandbox, not changed; what stands here is the exception, so every entry must be
//! something that a program cannot work without. Folders of programs that somebody runs later never belong here.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// Names of programs, and what each of them changes below the home folder. A name with an ending `.json` is a file.
const STATE: [(&[&str], &[&str]); 15] = [
    (&["claude"], &[".claude", ".claude.json"]),
    (&["codex"], &[".codex"]),
    (&["gemini"], &[".gemini"]),
    (&["qwen"], &[".qwen"]),
    (&["copilot"], &[".copilot"]),
    (&["cursor-agent"], &[".cursor", ".config/cursor"]),
    (
        &["opencode"],
        &[".local/share/opencode", ".local/state/opencode"],
    ),
    (&["crush"], &[".local/share/crush"]),
    (&["goose"], &[".local/share/goose", ".local/state/goose"]),
    (&["amp"], &[".local/share/amp"]),
    (&["aider"], &[".aider"]),
    (&["droid"], &[".factory"]),
    (&["cn", "continue"], &[".continue"]),
    (&["cline"], &[".cline"]),
    (&["llm"], &[".config/io.datasette.llm"]),
];

/// Caches of tools that builds cannot do without: what was downloaded, nothing that is started by name. Outer folders
/// stand before inner ones, and only those without others inside can be changed.
const CACHES: [&str; 24] = [
    ".cache",
    ".npm",
    ".pnpm-store",
    ".local",
    ".local/share",
    ".local/share/pnpm",
    ".local/share/pnpm/store",
    ".yarn",
    ".yarn/berry",
    ".bun",
    ".bun/install",
    ".bun/install/cache",
    ".cargo",
    ".cargo/registry",
    ".cargo/git",
    "go",
    "go/pkg",
    ".m2",
    ".m2/repository",
    ".m2/wrapper",
    ".gradle",
    ".ivy2",
    ".nuget",
    ".nuget/packages",
];

/// What a program changes below the home folder, for [`crate::Access::write`].
pub fn state_folders(program: &OsStr, home: &Path) -> Vec<PathBuf> {
    let name = Path::new(program).file_name().and_then(OsStr::to_str);
    let known = |(names, _): &&(&[&str], &[&str])| name.is_some_and(|name| names.contains(&name));
    let folders = STATE.iter().find(known).map(|(_, folders)| *folders);
    let folders = folders.unwrap_or_default().iter();
    folders.map(|folder| home.join(folder)).collect()
}

/// Caches below the home folder that a command may change.
pub(crate) fn caches(home: &Path) -> impl Iterator<Item = PathBuf> {
    let is_outer = |name: &str| CACHES.iter().any(|other| is_inside(other, name));
    CACHES
        .iter()
        .filter(move |name| !is_outer(name))
        .map(|name| home.join(name))
}

/// Folders that caches need, outer ones first.
pub(crate) fn cache_folders(home: &Path) -> impl Iterator<Item = PathBuf> {
    CACHES.iter().map(|name| home.join(name))
}

fn is_inside(name: &str, folder: &str) -> bool {
    name != folder && Path::new(name).starts_with(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(program: &str, expect: &[&str]) {
        let expect: Vec<PathBuf> = expect.iter().map(PathBuf::from).collect();
        assert_eq!(
            state_folders(OsStr::new(program), Path::new("/home/ann")),
            expect
        );
    }

    #[test]
    fn an_agent_is_known_by_the_name_of_its_program() {
        let claude = ["/home/ann/.claude", "/home/ann/.claude.json"];
        check("claude", &claude);
        check("/usr/local/bin/claude", &claude);
        check("claude-but-not-quite", &[]);
        check("sh", &[]);
        check("", &[]);
    }

    #[test]
    fn no_state_is_a_folder_of_programs_or_the_home_folder_itself() {
        let all = STATE.iter().flat_map(|(_, folders)| folders.iter());
        let caches = caches(Path::new("")).map(|path| path.to_str().unwrap().to_owned());
        for name in all.map(|name| (*name).to_owned()).chain(caches) {
            let path = Path::new(&name);
            assert!(path.is_relative() && !name.is_empty(), "{name}");
            assert!(
                path.file_name().unwrap() != "bin" && name != ".cargo" && name != "go",
                "{name}"
            );
        }
    }
}
