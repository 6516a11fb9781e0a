//! What stands between a program that runs for an agent and what decides over it: files that it never changes, whatever it
//! was granted, and keys that it never sees.

use std::path::{Path, PathBuf};

use exeat_policy::Depends;

use super::state::State;
use crate::settings::{Anchor, Settings};

/// Of one run. Names as they were written; [`Walls::real`] finds out what they mean.
#[derive(Debug, Default)]
pub(super) struct Walls {
    /// What decides, whatever is granted.
    deciding: Vec<PathBuf>,
    /// Programs and scripts of tools.
    programs: Vec<PathBuf>,
    /// What is not seen.
    hide: Vec<PathBuf>,
}

impl Walls {
    /// Those that the settings and the tools in force make.
    pub(super) fn of(state: &State, settings: Option<&Settings>, depends: Depends) -> Self {
        let mut walls = Self {
            programs: depends.programs,
            hide: depends.keys,
            ..Self::default()
        };
        let Some(settings) = settings else {
            return walls;
        };
        walls.hide.extend(state.hidden(settings));
        walls.deciding.extend(settings.watched());
        walls.deciding.extend(settings.network.roots_from.clone());
        for listener in &settings.listeners {
            let Some(tls) = &listener.tls else { continue };
            walls.deciding.push(tls.cert.clone());
            walls.deciding.extend(tls.client_ca.clone());
            walls.hide.push(tls.key.clone());
        }
        if let Some(Anchor::Command(argv)) = &settings.ledger.anchor {
            let named = argv.iter().map(PathBuf::from);
            walls
                .deciding
                .extend(named.filter(|word| word.is_absolute()));
        }
        walls.deciding.extend(std::env::current_exe());
        walls
    }

    /// What to keep and what to hide, for a program that may write there. Blocks.
    pub(super) fn real(self, write: &[PathBuf]) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let write: Vec<PathBuf> = write.iter().map(|path| meant(path)).collect();
        let mut keep = both(self.deciding);
        // A folder that a program is told to work in is a word as well; it is granted by name, and nothing wider is.
        keep.extend(both(self.programs).into_iter().filter(|path| {
            let inside = write.iter().any(|grant| grant.starts_with(path));
            let around = write
                .iter()
                .any(|grant| grant != path && path.starts_with(grant));
            around || !inside
        }));
        (keep, both(self.hide))
    }
}

/// Paths as they are written and as they are meant, which differ behind links.
fn both(paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let absolute = paths
        .into_iter()
        .filter_map(|path| std::path::absolute(path).ok());
    let mut all: Vec<PathBuf> = absolute.flat_map(|path| [meant(&path), path]).collect();
    all.sort();
    all.dedup();
    all
}

/// Where a path leads; of what is not there, its folder.
fn meant(path: &Path) -> PathBuf {
    let real = path.canonicalize().ok();
    let below = || Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    real.or_else(below).unwrap_or_else(|| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_kept_unless_its_folder_is_what_was_granted() {
        let kept = |write: &[&str]| {
            let walls = Walls {
                deciding: vec!["/p/exeat.toml".into()],
                programs: vec!["/p/app".into()],
                hide: Vec::new(),
            };
            let write: Vec<PathBuf> = write.iter().map(PathBuf::from).collect();
            walls.real(&write).0.contains(&PathBuf::from("/p/app"))
        };
        assert!(kept(&["/p"]) && kept(&[]) && kept(&["/p", "/p/app/log"]));
        assert!(!kept(&["/p/app"]) && !kept(&["/p/app/log"]));
    }
}
