//! Reads configuration from disk. A file that others may write is refused: who can write it decides what agents may do.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use exeat_policy::Sources;
use exeat_types::{Report, Source};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use super::PolicyFiles;

/// Permission bits that let group or others write.
const OTHERS_WRITE: u32 = 0o022;

/// Reads one file as text under the name it was given.
pub(super) fn read_source(path: &Path) -> Result<Source, Report> {
    let mut report = Report::new();
    let name = path.display().to_string();
    match read_guarded(path) {
        Ok(text) => return Ok(Source::new(&name, &text)),
        Err(Unreadable::Missing) => {
            report
                .general(format!("there is no `{name}`"))
                .help("`exeat init` writes a first one; `-c FILE` names another");
        }
        Err(Unreadable::Writable(mode)) => {
            report
                .general(format!("`{name}` can be changed by others (mode {mode:o})"))
                .help(format!("chmod go-w {name}"));
        }
        Err(Unreadable::Foreign(owner)) => {
            report
                .general(format!(
                    "`{name}` belongs to user {owner}, who could change it"
                ))
                .help("it must belong to whoever runs `exeat`, or to root");
        }
        Err(Unreadable::Io(problem)) => {
            report.general(format!("cannot read `{name}`: {problem}"));
        }
    }
    Err(report)
}

/// Reads every tool file, the rules and Cedar additions, tool files in the order of their names.
///
/// # Errors
/// Every file that cannot be read.
pub(crate) fn read_sources(policy: &PolicyFiles) -> Result<Sources, Report> {
    let mut report = Report::new();
    let mut sources = Sources {
        tools: Vec::new(),
        policy: Vec::new(),
        cedar: Vec::new(),
    };
    let mut take = |path: &Path, into: &mut Vec<Source>| match read_source(path) {
        Ok(source) => into.push(source),
        Err(problems) => report.absorb(problems),
    };
    take(&policy.file, &mut sources.policy);
    let listed = list(&policy.tools);
    for path in listed.as_deref().unwrap_or_default() {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => take(path, &mut sources.tools),
            Some("cedar") => take(path, &mut sources.cedar),
            _ => {}
        }
    }
    if let Err(problem) = listed {
        let name = policy.tools.display();
        report
            .general(format!("cannot read the folder `{name}`: {problem}"))
            .help("tools are TOML files in it; `[policy] tools` names another folder");
    }
    if report.is_empty() {
        Ok(sources)
    } else {
        Err(report)
    }
}

/// Certificates of a PEM file; at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(path).map_err(|problem| problem.to_string())?;
    let found: Result<Vec<_>, _> = found.collect();
    let found = found.map_err(|problem| problem.to_string())?;
    if found.is_empty() {
        return Err("no certificate in it".to_owned());
    }
    Ok(found)
}

enum Unreadable {
    Missing,
    Writable(u32),
    Foreign(u32),
    Io(io::Error),
}

fn read_guarded(path: &Path) -> Result<String, Unreadable> {
    let wrong = |problem: io::Error| match problem.kind() {
        io::ErrorKind::NotFound => Unreadable::Missing,
        _ => Unreadable::Io(problem),
    };
    let file = fs::File::open(path).map_err(wrong)?;
    let facts = file.metadata().map_err(wrong)?;
    if facts.mode() & OTHERS_WRITE != 0 {
        return Err(Unreadable::Writable(facts.mode() & 0o777));
    }
    let ours = [0, rustix::process::geteuid().as_raw()].contains(&facts.uid());
    if !ours && !is_mounted_read_only(&file) {
        return Err(Unreadable::Foreign(facts.uid()));
    }
    io::read_to_string(file).map_err(wrong)
}

/// Whether the file was handed over by whoever made the mounts, such as those of a container.
fn is_mounted_read_only(file: &fs::File) -> bool {
    rustix::fs::fstatvfs(file)
        .is_ok_and(|found| found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

/// Files of a folder, sorted by name; hidden ones are left out, as editors leave theirs there.
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
