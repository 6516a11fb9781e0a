//! Where segments lie: the outside world of the journal, behind a trait so that tests can break it.
//!
//! A segment has its whole length from the start, as zeros that were really written: later writes move no metadata, so
//! one `fdatasync` makes them durable.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// A place for numbered segments. All calls may block.
pub trait Storage: Send + Sync {
    /// The numbers of the segments that exist, in order.
    ///
    /// # Errors
    /// When the place cannot be read.
    fn segments(&self) -> io::Result<Vec<u32>>;

    /// The length of a segment.
    ///
    /// # Errors
    /// When the segment cannot be read.
    fn length(&self, segment: u32) -> io::Result<u64>;

    /// Up to `bytes` bytes from `offset`; fewer at the end of the segment.
    ///
    /// # Errors
    /// When the segment cannot be read.
    fn read(&self, segment: u32, offset: u64, bytes: usize) -> io::Result<Vec<u8>>;

    /// Makes a segment of zeros that survives a crash; if that fails nothing is left behind.
    ///
    /// # Errors
    /// When there is no room, or the place cannot be written.
    fn prepare(&self, segment: u32, bytes: u64) -> io::Result<()>;

    /// Writes into a segment, not beyond its length.
    ///
    /// # Errors
    /// When the bytes could not all be written.
    fn write(&self, segment: u32, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was written to a segment survive a crash.
    ///
    /// # Errors
    /// When that is not certain.
    fn sync(&self, segment: u32) -> io::Result<()>;

    /// Keeps bytes that are about to be cut, under a name, durably.
    ///
    /// # Errors
    /// When that is not certain.
    fn set_aside(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
}

/// Segments as files `00000001.seg`, .. in a folder.
pub struct Folder {
    path: PathBuf,
    open: Mutex<Option<(u32, Arc<File>)>>,
}

/// Zeros are written and synced in pieces, so that a segment being prepared does not hold up the one being written.
static ZEROS: [u8; 1024 * 1024] = [0; 1024 * 1024];

impl Folder {
    /// Uses a folder, making it if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        Ok(Self {
            path: path.to_owned(),
            open: Mutex::new(None),
        })
    }

    fn file_path(&self, segment: u32) -> PathBuf {
        self.path.join(format!("{segment:08}.seg"))
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    /// The file of a segment; the one used last stays open for writing.
    fn file(&self, segment: u32) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((number, file)) = &*open
            && *number == segment
        {
            return Ok(Arc::clone(file));
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.file_path(segment))?;
        let file = Arc::new(file);
        *open = Some((segment, Arc::clone(&file)));
        Ok(file)
    }
}

impl Storage for Folder {
    fn segments(&self) -> io::Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let stem = name.to_str().and_then(|name| name.strip_suffix(".seg"));
            if let Some(number) = stem.filter(|s| s.len() == 8).and_then(|s| s.parse().ok()) {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn length(&self, segment: u32) -> io::Result<u64> {
        Ok(fs::metadata(self.file_path(segment))?.len())
    }

    fn read(&self, segment: u32, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let file = File::open(self.file_path(segment))?;
        let mut out = vec![0; bytes];
        let mut filled = 0;
        while let Some(rest) = out.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = offset + u64::try_from(filled).unwrap_or(u64::MAX);
            match file.read_at(rest, at) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        out.truncate(filled);
        Ok(out)
    }

    fn prepare(&self, segment: u32, bytes: u64) -> io::Result<()> {
        let temporary = self.path.join(format!("{segment:08}.new"));
        let fill = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&temporary)?;
            let mut rest = bytes;
            while rest > 0 {
                let step = usize::try_from(rest).unwrap_or(usize::MAX).min(ZEROS.len());
                file.write_all(ZEROS.get(..step).unwrap_or_default())?;
                file.sync_data()?;
                rest = rest.saturating_sub(u64::try_from(step).unwrap_or(u64::MAX));
            }
            file.sync_all()?;
            fs::rename(&temporary, self.file_path(segment))?;
            self.sync_folder()
        };
        let result = fill();
        if result.is_err() && temporary.exists() {
            fs::remove_file(&temporary)?;
        }
        result
    }

    fn write(&self, segment: u32, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(segment)?.write_all_at(bytes, offset)
    }

    fn sync(&self, segment: u32) -> io::Result<()> {
        self.file(segment)?.sync_data()
    }

    fn set_aside(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(self.path.join(name))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        self.sync_folder()
    }
}
