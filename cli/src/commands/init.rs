//! `exeat init`: a first configuration that explains itself and allows nothing that matters.

use std::{
    fs::{DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde_json::json;

use super::Place;
use crate::{
    env,
    ui::{self, Ending, Output},
};

/// The files and what stands in them.
const FILES: [(&str, &str); 3] = [
    ("exeat.toml", include_str!("../../templates/exeat.toml")),
    ("policy.toml", include_str!("../../templates/policy.toml")),
    (
        "tools/example.toml",
        include_str!("../../templates/tools/example.toml"),
    ),
];

pub(super) fn init(place: &Place, named: Option<PathBuf>) -> anyhow::Result<Ending> {
    let usual = env::config_folder();
    let folder = named.or_else(|| usual.clone());
    let folder =
        folder.context("there is no home for a configuration; name a folder with `--dir`")?;
    let Files { written, kept } = write(&folder)?;
    if place.output == Output::Json {
        ui::json(&json!({ "written": written, "kept": kept }))?;
        return Ok(Ending::Done);
    }
    for path in &written {
        ui::data(format_args!("wrote {}", path.display()))?;
    }
    for path in &kept {
        ui::say(format_args!("kept {}, which was there", path.display()));
    }
    let config = folder.join("exeat.toml");
    let option = if usual.as_deref() == Some(&folder) {
        String::new()
    } else {
        format!(" -c {}", config.display())
    };
    ui::say(format_args!(
        "\nNext:\n  exeat{option} check\n  exeat{option} why GET https://httpbin.org/get --agent me\n  exeat{option} run -- curl -s https://httpbin.org/get\n  exeat{option} receipt list"
    ));
    Ok(Ending::Done)
}

/// What was done with each file.
#[derive(Default)]
pub(super) struct Files {
    written: Vec<PathBuf>,
    kept: Vec<PathBuf>,
}

/// Writes every file that is not there.
pub(super) fn write(folder: &Path) -> anyhow::Result<Files> {
    let mut files = Files::default();
    for (name, text) in FILES {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        let made = DirBuilder::new().recursive(true).mode(0o755).create(parent);
        made.with_context(|| format!("cannot make the folder `{}`", parent.display()))?;
        let opened = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&path);
        let wrong = || format!("cannot write `{}`", path.display());
        match opened {
            Ok(mut file) => {
                file.write_all(text.as_bytes()).with_context(wrong)?;
                files.written.push(path);
            }
            Err(problem) if problem.kind() == io::ErrorKind::AlreadyExists => files.kept.push(path),
            Err(problem) => return Err(problem).with_context(wrong),
        }
    }
    Ok(files)
}
