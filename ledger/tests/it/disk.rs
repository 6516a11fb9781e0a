//! A disk in memory that can be cut short, filled up and broken: the outside world of the journal.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
};

use exeat_ledger::Storage;

/// What the disk of a test does wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// New segments find no room.
    Full,
    /// Writes fail half way.
    Write,
    /// Writes succeed, syncs fail.
    Sync,
}

const SECTOR: usize = 512;

#[derive(Default)]
struct Disk {
    /// What a reader sees, and what would survive a loss of power.
    segments: BTreeMap<u32, (Vec<u8>, Vec<u8>)>,
    fault: Fault,
    syncs: u64,
    crash_at: Option<u64>,
    crashed: Option<MemoryDisk>,
}

/// A disk in memory. What was not synced is lost, sector by sector, when the power fails.
#[derive(Clone, Default)]
pub(crate) struct MemoryDisk(Arc<Mutex<Disk>>);

impl MemoryDisk {
    fn with<T>(&self, act: impl FnOnce(&mut Disk) -> T) -> T {
        act(&mut self.0.lock().unwrap())
    }

    pub(crate) fn fail(&self, fault: Fault) {
        self.with(|disk| disk.fault = fault);
    }

    /// From this sync on, counted from zero, everything fails; the disk is kept as it was before it.
    pub(crate) fn crash_at(&self, sync: u64) {
        self.with(|disk| disk.crash_at = Some(sync));
    }

    /// The disk as it was when it crashed.
    pub(crate) fn crashed(&self) -> Option<Self> {
        self.with(|disk| disk.crashed.take())
    }

    /// The disk after a loss of power: of each sector that was written and not synced, `keep` says whether it made it.
    pub(crate) fn lose_power(&self, mut keep: impl FnMut() -> bool) -> Self {
        let segments = self.with(|disk| {
            let mut survive = |(seen, safe): &(Vec<u8>, Vec<u8>)| {
                let mut after = safe.clone();
                for at in (0..seen.len()).step_by(SECTOR) {
                    let sector = at..(at + SECTOR).min(seen.len());
                    if seen[sector.clone()] != safe[sector.clone()] && keep() {
                        after[sector.clone()].copy_from_slice(&seen[sector]);
                    }
                }
                (after.clone(), after)
            };
            let rows = disk
                .segments
                .iter()
                .map(|(number, both)| (*number, survive(both)));
            rows.collect()
        });
        let disk = Disk {
            segments,
            ..Disk::default()
        };
        Self(Arc::new(Mutex::new(disk)))
    }

    /// A copy whose bytes from a place in the whole journal on are zeros again.
    pub(crate) fn cut_at(&self, place: usize) -> Self {
        let segments = self.with(|disk| {
            let mut rest = place;
            let cut = |(number, (seen, _)): (&u32, &(Vec<u8>, Vec<u8>))| {
                let mut bytes = seen.clone();
                let keep = rest.min(bytes.len());
                rest -= keep;
                bytes[keep..].fill(0);
                (*number, (bytes.clone(), bytes))
            };
            disk.segments.iter().map(cut).collect()
        });
        Self(Arc::new(Mutex::new(Disk {
            segments,
            ..Disk::default()
        })))
    }

    /// A copy with one bit of the whole journal turned over.
    pub(crate) fn flip(&self, bit: usize) -> Self {
        let copy = self.cut_at(usize::MAX);
        let mut at = bit / 8;
        copy.with(|disk| {
            for (seen, safe) in disk.segments.values_mut() {
                if at < seen.len() {
                    seen[at] ^= 1 << (bit % 8);
                    safe.clone_from(seen);
                    return;
                }
                at -= seen.len();
            }
        });
        copy
    }

    pub(crate) fn bytes(&self) -> usize {
        self.with(|disk| disk.segments.values().map(|(seen, _)| seen.len()).sum())
    }

    /// How many bytes of a segment are in use.
    pub(crate) fn used(&self, segment: u32) -> usize {
        self.with(|disk| {
            let seen = &disk.segments[&segment].0;
            seen.iter()
                .rposition(|&byte| byte != 0)
                .map_or(0, |last| last + 1)
        })
    }

    pub(crate) fn edit(&self, segment: u32, change: impl FnOnce(&mut Vec<u8>)) {
        self.with(|disk| {
            let (seen, safe) = disk.segments.get_mut(&segment).unwrap();
            change(seen);
            safe.clone_from(seen);
        });
    }

    pub(crate) fn remove(&self, segment: u32) {
        self.with(|disk| disk.segments.remove(&segment));
    }
}

fn missing() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl Storage for MemoryDisk {
    fn segments(&self) -> io::Result<Vec<u32>> {
        self.with(|disk| Ok(disk.segments.keys().copied().collect()))
    }

    fn length(&self, segment: u32) -> io::Result<u64> {
        self.with(|disk| {
            disk.segments
                .get(&segment)
                .map(|(seen, _)| seen.len() as u64)
                .ok_or_else(missing)
        })
    }

    fn read(&self, segment: u32, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        self.with(|disk| {
            let (seen, _) = disk.segments.get(&segment).ok_or_else(missing)?;
            let from = usize::try_from(offset).unwrap().min(seen.len());
            let to = from.saturating_add(bytes).min(seen.len());
            Ok(seen[from..to].to_vec())
        })
    }

    fn prepare(&self, segment: u32, bytes: u64) -> io::Result<()> {
        self.with(|disk| {
            if disk.fault == Fault::Full {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            let zeros = vec![0; usize::try_from(bytes).unwrap()];
            disk.segments.insert(segment, (zeros.clone(), zeros));
            Ok(())
        })
    }

    fn write(&self, segment: u32, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(|disk| {
            let fault = disk.fault;
            let (seen, _) = disk.segments.get_mut(&segment).ok_or_else(missing)?;
            let from = usize::try_from(offset).unwrap();
            let count = if fault == Fault::Write {
                bytes.len() / 2
            } else {
                bytes.len()
            };
            seen[from..from + count].copy_from_slice(&bytes[..count]);
            if fault == Fault::Write {
                Err(io::Error::other("broken"))
            } else {
                Ok(())
            }
        })
    }

    fn sync(&self, segment: u32) -> io::Result<()> {
        self.with(|disk| {
            if disk.crash_at.is_some_and(|at| disk.syncs >= at) && disk.fault == Fault::None {
                let segments = disk.segments.clone();
                let kept = Disk {
                    segments,
                    ..Disk::default()
                };
                disk.crashed = Some(Self(Arc::new(Mutex::new(kept))));
                disk.fault = Fault::Sync;
            }
            if disk.fault == Fault::Sync {
                return Err(io::Error::other("broken"));
            }
            disk.syncs += 1;
            let (seen, safe) = disk.segments.get_mut(&segment).ok_or_else(missing)?;
            safe.clone_from(seen);
            Ok(())
        })
    }

    fn set_aside(&self, _: &str, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}
