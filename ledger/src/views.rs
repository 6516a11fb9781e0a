//! The index of receipts in redb: which records belong to a call, and which calls to an agent or a tool.
//!
//! Only a view: it is rebuilt from the journal when it is missing, behind, or not of this journal, and it is written in
//! large steps, never per request.

use std::{fs, path::PathBuf, sync::Arc};

use exeat_types::{CallId, Digest, Timestamp};
use redb::{Builder, Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::{
    Error,
    envelope::Envelope,
    frame::FRAME_BYTES,
    history::{self, Gathered, Past},
    merkle::leaf_hash,
    receipt::{Decision, Filter, Receipt},
    record::Record,
    rows::{Row, bounds, call_of, code, decision_of, key, packed, unpacked},
    scan::{self, Position, damaged},
    storage::Storage,
};

/// Call -> place of its first record, place of its closing record (zero: none), decision.
const CALLS: TableDefinition<'_, u128, (u64, u64, u8)> = TableDefinition::new("calls");
const BY_AGENT: TableDefinition<'_, (&str, u128), ()> = TableDefinition::new("by-agent");
const BY_TOOL: TableDefinition<'_, (&str, u128), ()> = TableDefinition::new("by-tool");
/// How far the journal is indexed, under a name that changes when an index of before lacks something: segment, offset, number, and the leaf hash of the record before that.
const META: TableDefinition<'_, &str, (u32, u64, u64, [u8; 32])> = TableDefinition::new("meta");
const INDEXED: &str = "indexed with history";

/// Records indexed in one transaction.
const STEP: u64 = 50_000;
const CACHE_BYTES: usize = 16 * 1024 * 1024;

pub(crate) struct Views {
    path: PathBuf,
    storage: Arc<dyn Storage>,
    database: Option<Database>,
    /// The file belongs to another process.
    is_away: bool,
}

impl Views {
    pub(crate) const fn new(path: PathBuf, storage: Arc<dyn Storage>) -> Self {
        Self {
            path,
            storage,
            database: None,
            is_away: false,
        }
    }

    /// Lets go of the file, as another process is about to open it.
    pub(crate) fn go_away(&mut self) {
        self.database = None;
        self.is_away = true;
    }

    /// The file is ours again.
    pub(crate) fn come_back(&mut self) {
        self.is_away = false;
    }

    /// Indexes what was written since the last time.
    pub(crate) fn catch_up(&mut self, end: Position) -> Result<(), Error> {
        let (mut from, _) = match self.indexed()? {
            Some(mark) if self.is_ours(mark, end) => mark,
            Some(_) => {
                self.start_over()?;
                (scan::start(), Digest::of(b""))
            }
            None => (scan::start(), Digest::of(b"")),
        };
        while from.seq < end.seq {
            from = self.index_step(from, end)?;
        }
        Ok(())
    }

    /// The receipt of a call.
    pub(crate) fn show(&mut self, call: CallId) -> Result<Option<Receipt>, Error> {
        let read = self.database()?.begin_read().map_err(wrong("read"))?;
        let calls = read.open_table(CALLS).map_err(wrong("read"))?;
        let row = calls
            .get(key(call))
            .map_err(wrong("read"))?
            .map(|row| row.value());
        row.map(|row| self.load(call, row)).transpose()
    }

    /// The receipts that pass a filter, newest first.
    pub(crate) fn list(&mut self, filter: &Filter) -> Result<Vec<Receipt>, Error> {
        let limit = filter.limit.unwrap_or(usize::MAX);
        let (low, high) = bounds(filter);
        let mut found = Vec::new();
        if low >= high {
            return Ok(found);
        }
        let read = self.database()?.begin_read().map_err(wrong("read"))?;
        let calls = read.open_table(CALLS).map_err(wrong("read"))?;
        let mut see = |id: u128| -> Result<bool, Error> {
            let Some(row) = calls.get(id).map_err(wrong("read"))?.map(|row| row.value()) else {
                return Ok(true);
            };
            if filter
                .decision
                .is_some_and(|decision| code(decision) != row.2)
            {
                return Ok(true);
            }
            let receipt = self.load(call_of(id), row)?;
            if filter.admits(&receipt) {
                found.push(receipt);
            }
            Ok(found.len() < limit)
        };
        let exact = filter.tool.as_deref().filter(|tool| !tool.ends_with('*'));
        let index = match (&filter.agent, exact) {
            (_, Some(tool)) => Some((BY_TOOL, tool)),
            (Some(agent), None) => Some((BY_AGENT, agent.as_str())),
            (None, None) => None,
        };
        if let Some((table, name)) = index {
            let table = read.open_table(table).map_err(wrong("read"))?;
            let rows = table
                .range((name, low)..(name, high))
                .map_err(wrong("read"))?;
            for row in rows.rev() {
                if !see(row.map_err(wrong("read"))?.0.value().1)? {
                    break;
                }
            }
        } else {
            for row in calls.range(low..high).map_err(wrong("read"))?.rev() {
                if !see(row.map_err(wrong("read"))?.0.value())? {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// What every agent has done, with the hours from `since` on.
    pub(crate) fn history(&mut self, since: u32, names_max: usize) -> Result<Vec<Past>, Error> {
        history::read(self.database()?, since, names_max)
    }

    fn database(&mut self) -> Result<&Database, Error> {
        if self.is_away {
            return Err(Error::Closed);
        }
        if self.database.is_none() {
            let database = match self.open_file() {
                Ok(database) => database,
                Err(_) => {
                    // It is only a view: whatever is wrong with it, the journal has it all.
                    self.remove_file()?;
                    self.open_file()?
                }
            };
            self.database = Some(database);
        }
        self.database.as_ref().ok_or(Error::Closed)
    }

    fn open_file(&self) -> Result<Database, Error> {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        let database = builder.create(&self.path).map_err(wrong("open"))?;
        let write = database.begin_write().map_err(wrong("open"))?;
        write.open_table(CALLS).map_err(wrong("open"))?;
        write.open_table(BY_AGENT).map_err(wrong("open"))?;
        write.open_table(BY_TOOL).map_err(wrong("open"))?;
        write.open_table(META).map_err(wrong("open"))?;
        history::create(&write)?;
        write.commit().map_err(wrong("open"))?;
        Ok(database)
    }

    fn remove_file(&self) -> Result<(), Error> {
        if self.path.exists() {
            fs::remove_file(&self.path).map_err(Error::disk("remove the index of receipts"))?;
        }
        Ok(())
    }

    fn start_over(&mut self) -> Result<(), Error> {
        self.database = None;
        self.remove_file()
    }

    fn indexed(&mut self) -> Result<Option<(Position, Digest)>, Error> {
        let read = self.database()?.begin_read().map_err(wrong("read"))?;
        let meta = read.open_table(META).map_err(wrong("read"))?;
        let row = meta
            .get(INDEXED)
            .map_err(wrong("read"))?
            .map(|row| row.value());
        Ok(row.map(|(segment, offset, seq, last)| {
            (
                Position {
                    segment,
                    offset,
                    seq,
                },
                Digest::from_bytes(last),
            )
        }))
    }

    /// Whether the journal goes on where the index stopped: the next record must point at the last one indexed.
    fn is_ours(&self, (mark, last): (Position, Digest), end: Position) -> bool {
        if mark.seq >= end.seq {
            return mark.seq == end.seq && (mark == end || end.offset == 0);
        }
        let mut follows = false;
        let next = Position {
            seq: mark.seq + 1,
            ..end
        };
        let walked = scan::frames(&*self.storage, mark, next, &mut |payload, _| {
            follows = Envelope::parse(payload).is_ok_and(|e| e.seq == mark.seq && e.prev == last);
            Ok(())
        });
        walked.is_ok() && follows
    }

    fn index_step(&mut self, from: Position, end: Position) -> Result<Position, Error> {
        let storage = Arc::clone(&self.storage);
        let write = self.database()?.begin_write().map_err(wrong("write"))?;
        let mut next = from;
        let mut last = Digest::of(b"");
        let mut gathered = Gathered::default();
        {
            let mut calls = write.open_table(CALLS).map_err(wrong("write"))?;
            let mut by_agent = write.open_table(BY_AGENT).map_err(wrong("write"))?;
            let mut by_tool = write.open_table(BY_TOOL).map_err(wrong("write"))?;
            let stop = Position {
                seq: end.seq.min(from.seq + STEP),
                ..end
            };
            scan::frames(&*storage, from, stop, &mut |payload, position| {
                last = leaf_hash(payload);
                next = scan::after(position, payload);
                let envelope = Envelope::parse(payload)
                    .map_err(|e| damaged(position.segment, position.offset, &e.problem))?;
                let Some(row) = Row::of(&envelope, position)? else {
                    return Ok(());
                };
                match row {
                    Row::Begun {
                        call,
                        decision,
                        brief,
                    } => {
                        let place = packed(position);
                        let closed = if decision == Decision::Open { 0 } else { place };
                        calls
                            .insert(call, (place, closed, code(decision)))
                            .map_err(wrong("write"))?;
                        if decision == Decision::Open {
                            gathered.begun(call, &brief);
                        }
                        let agent = (brief.agent.as_str(), call);
                        by_agent.insert(agent, ()).map_err(wrong("write"))?;
                        if let Some(tool) = &brief.tool {
                            by_tool
                                .insert((tool.as_str(), call), ())
                                .map_err(wrong("write"))?;
                        }
                    }
                    Row::Ended {
                        call,
                        decision,
                        bytes,
                    } => {
                        gathered.ended(call, bytes);
                        let begun = calls
                            .get(call)
                            .map_err(wrong("write"))?
                            .map(|r| r.value().0);
                        let row = (begun.unwrap_or(0), packed(position), code(decision));
                        calls.insert(call, row).map_err(wrong("write"))?;
                    }
                }
                Ok(())
            })?;
            let mut meta = write.open_table(META).map_err(wrong("write"))?;
            let mark = (next.segment, next.offset, next.seq, *last.as_bytes());
            meta.insert(INDEXED, mark).map_err(wrong("write"))?;
        }
        gathered.write(&write)?;
        write.commit().map_err(wrong("write"))?;
        Ok(next)
    }

    fn load(&self, call: CallId, row: (u64, u64, u8)) -> Result<Receipt, Error> {
        let (first, seq, opened) = self.record_at(row.0)?;
        let decision = decision_of(row.2);
        let mut receipt = Receipt {
            call,
            decision,
            seq,
            opened,
            closed: None,
            intent: None,
            outcome: None,
            refusal: None,
        };
        match first {
            Record::Intent(intent) => receipt.intent = Some(intent),
            Record::Refusal(refusal) => {
                receipt.refusal = Some(refusal);
                receipt.closed = Some(opened);
            }
            _ => {}
        }
        if row.1 != 0
            && row.1 != row.0
            && let (Record::Outcome(outcome), _, closed) = self.record_at(row.1)?
        {
            receipt.outcome = Some(outcome);
            receipt.closed = Some(closed);
        }
        Ok(receipt)
    }

    fn record_at(&self, place: u64) -> Result<(Record, u64, Timestamp), Error> {
        let (segment, offset) = unpacked(place);
        let bad = |problem: &str| damaged(segment, offset, problem);
        let head = self
            .storage
            .read(segment, offset, FRAME_BYTES)
            .map_err(Error::disk("read the journal"))?;
        let length = head
            .first_chunk::<4>()
            .map(|length| u32::from_le_bytes(*length));
        let length = usize::try_from(length.unwrap_or(0)).unwrap_or(0);
        let length = length.min(crate::frame::RECORD_BYTES_MAX);
        let bytes = self
            .storage
            .read(segment, offset, FRAME_BYTES + length)
            .map_err(Error::disk("read the journal"))?;
        let crate::frame::Step::Frame { payload, .. } = crate::frame::step(&bytes, 0) else {
            return Err(bad("expected a record"));
        };
        let envelope = Envelope::parse(payload).map_err(|e| bad(&e.problem))?;
        let moment = envelope.moment().map_err(|e| bad(&e.problem))?;
        let record = envelope.record().map_err(|e| bad(&e.problem))?;
        Ok((record, envelope.seq, moment))
    }
}

pub(crate) fn wrong<E: Into<redb::Error>>(doing: &'static str) -> impl Fn(E) -> Error {
    move |cause| Error::Views {
        doing,
        cause: Arc::new(cause.into()),
    }
}
