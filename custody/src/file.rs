//! Private files: read only when nobody else can read them, written so that a crash leaves the old or the new whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use exeat_types::random_bytes;

use crate::{Error, placeholder::hex};

/// Reads a file that only its owner can read; `None` when there is none.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, Error> {
    let wrong = |source| Error::File {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(problem) => return Err(wrong(problem)),
    };
    let about = file.metadata().map_err(wrong)?;
    if about.permissions().mode() & 0o077 != 0 {
        return Err(Error::Exposed {
            path: path.to_owned(),
        });
    }
    // Room for all at once, so that no copy is left behind by growing.
    let room = usize::try_from(about.len().min(bytes_max)).unwrap_or_default();
    let mut bytes = Vec::with_capacity(room.saturating_add(64));
    file.take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(wrong)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > bytes_max) {
        return Err(wrong(io::Error::other(
            "it is larger than such a file can be",
        )));
    }
    Ok(Some(bytes))
}

/// Replaces a file, or makes it.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    place(path, bytes, |from, to| fs::rename(from, to))
}

/// Makes a file; an existing one stays as it is and is an error.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    place(path, bytes, |from, to| {
        fs::hard_link(from, to)?;
        fs::remove_file(from)
    })
}

/// Writes beside the path, makes the bytes durable, then moves them to it with one step that cannot be half done.
fn place(
    path: &Path,
    bytes: &[u8],
    step: impl Fn(&Path, &Path) -> io::Result<()>,
) -> Result<(), Error> {
    let wrong = |source| Error::File {
        action: "write",
        path: path.to_owned(),
        source,
    };
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    };
    let beside: PathBuf = folder.join(format!(".{}.new", hex(&random_bytes::<8>()?)));
    let written = write_new(&beside, bytes).and_then(|()| step(&beside, path));
    if written.is_err() {
        fs::remove_file(&beside).or_else(|gone| match gone.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(wrong(gone)),
        })?;
    }
    written.map_err(wrong)?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(wrong)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_made_once_replaced_whole_and_refused_when_others_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert!(read(&path, 100).unwrap().is_none());
        create(&path, b"one").unwrap();
        assert!(matches!(
            create(&path, b"two"),
            Err(Error::File {
                action: "write",
                ..
            })
        ));
        assert_eq!(read(&path, 100).unwrap().unwrap(), b"one");
        replace(&path, b"three").unwrap();
        assert_eq!(read(&path, 100).unwrap().unwrap(), b"three");
        assert!(matches!(read(&path, 4), Err(Error::File { .. })));
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(
                matches!(read(&path, 100), Err(Error::Exposed { .. })),
                "{mode:o}"
            );
        }
    }
}
