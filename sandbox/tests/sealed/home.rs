//! A made-up home for the tests, and every way to change what is in it.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use exeat_sandbox::Access;
use rustix::process::getuid;

use crate::outside::{Sealed, me, plan};

/// A folder outside of the shared temporary ones, where the tests build their homes.
pub(crate) static PLACE: OnceLock<PathBuf> = OnceLock::new();

/// Names the folder in which an ordinary user builds homes.
pub(crate) const OPTION: &str = "--place=";

/// A folder for homes: the one that was named, one in `/var` for root, one beside what is built for everybody else.
pub(crate) fn place(words: &[&str]) -> tempfile::TempDir {
    let named = words.iter().find_map(|word| word.strip_prefix(OPTION));
    let built = if getuid().is_root() {
        "/var"
    } else {
        env!("CARGO_TARGET_TMPDIR")
    };
    tempfile::tempdir_in(named.unwrap_or(built)).unwrap()
}

/// A home folder with a project in it.
pub(crate) struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir_in(PLACE.get().unwrap()).unwrap();
        let home = Self { folder };
        fs::create_dir_all(home.path("work/src")).unwrap();
        home.write("notes.txt", "mine");
        home.write("work/src/main.rs", "fn main() {}");
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn access(&self) -> Access {
        Access {
            home: Some(self.folder.path().into()),
            project: self.path("work"),
            write: Vec::new(),
            keep: Vec::new(),
        }
    }

    /// What a command in the project says.
    pub(crate) fn run(&self, access: Access, program: &str, arguments: &[&str]) -> Sealed {
        let mut plan = plan(program, arguments);
        plan.access = access;
        plan.workdir = self.path("work");
        plan.env.push(("HOME".into(), self.folder.path().into()));
        plan.env.push(("GIT_AUTHOR_NAME".into(), "A".into()));
        plan.env
            .push(("GIT_AUTHOR_EMAIL".into(), "a@a.example".into()));
        plan.env.push(("GIT_COMMITTER_NAME".into(), "A".into()));
        plan.env
            .push(("GIT_COMMITTER_EMAIL".into(), "a@a.example".into()));
        Sealed::run(plan)
    }

    pub(crate) fn sh(&self, script: &str) -> Sealed {
        self.run(self.access(), "sh", &["-c", script])
    }

    pub(crate) fn outside(&self, script: &str) {
        let mut command = Command::new("sh");
        let command = command.args(["-ec", script]).current_dir(self.path("work"));
        let output = command.env("HOME", self.folder.path()).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Tries to change places; what could be changed comes back.
    #[track_caller]
    pub(crate) fn check_closed(&self, access: Access, places: &[PathBuf]) {
        let mut words = vec!["probe", "change"];
        words.extend(places.iter().map(|place| place.to_str().unwrap()));
        let sealed = self.run(access, &me(), &words);
        assert_eq!((sealed.text.as_str(), sealed.code), ("", 0));
    }
}

/// The probe: tries every way to change each place, and names what went through.
pub(crate) fn change(places: &[&str]) {
    for place in places {
        for (how, outcome) in changes(Path::new(place)) {
            if outcome.is_ok() {
                println!("{how} {place}");
            }
        }
    }
}

fn changes(place: &Path) -> Vec<(&'static str, io::Result<()>)> {
    let beside = place.with_extension("moved");
    let is_folder = place.is_dir();
    let open = || File::options().append(true).open(place).map(drop);
    let make = || File::create_new(place.join("made")).map(drop);
    let create = || File::create_new(place).map(drop);
    let mode = || fs::set_permissions(place, fs::Permissions::from_mode(0o777));
    let mut all = vec![("link", symlink("elsewhere", place))];
    match fs::symlink_metadata(place) {
        Ok(_) if is_folder => all.extend([("make in", make()), ("mode", mode())]),
        Ok(_) => all.extend([("open", open()), ("mode", mode())]),
        Err(_) => all.extend([("create", create()), ("make", fs::create_dir_all(place))]),
    }
    all.push(("move", fs::rename(place, &beside)));
    all.push((
        "remove",
        fs::remove_dir_all(place).or_else(|_| fs::remove_file(place)),
    ));
    all
}

/// Names of a table in a folder; those with a slash at the end become folders.
pub(crate) fn build(folder: &Path, names: &[&str]) -> Vec<PathBuf> {
    for name in names {
        let path = folder.join(name);
        if name.ends_with('/') {
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("inner"), "kept").unwrap();
        } else if !path.exists() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "kept").unwrap();
        }
    }
    names
        .iter()
        .map(|name| folder.join(name.trim_end_matches('/')))
        .collect()
}
