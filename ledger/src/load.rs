//! Opening a journal: walk it, cut an unfinished write, add up the state.

use std::sync::Arc;

use exeat_types::{Signer, Timestamp};

use crate::{
    Error,
    effect::Effect,
    envelope::Envelope,
    event::Cut,
    journal::Journal,
    note::NoteKey,
    scan::{self, Position, Walk, damaged},
    state::State,
    storage::Storage,
};

/// A journal that can be written on, and what its records add up to.
pub(crate) struct Loaded {
    pub(crate) journal: Journal,
    pub(crate) state: State,
    pub(crate) note: Option<String>,
    pub(crate) cut: Option<Cut>,
}

/// What was read of a journal that somebody else is still writing.
#[derive(Clone)]
pub(crate) struct Seen {
    state: State,
    walk: Walk,
}

impl Seen {
    /// Nothing yet.
    pub(crate) fn nothing() -> Self {
        Self {
            state: State::default(),
            walk: Walk::start(),
        }
    }

    /// Everything up to a place that is durable.
    pub(crate) fn up_to(
        storage: &dyn Storage,
        key: &NoteKey,
        end: Position,
    ) -> Result<Self, Error> {
        let mut state = State::default();
        let walk = scan::walk_to(storage, key, end, &mut |envelope, position| {
            take_in(&mut state, envelope, position)
        })?;
        Ok(Self { state, walk })
    }
}

/// Walks the journal behind what was seen of it before, refuses damage, and cuts an unfinished write after keeping a copy of it.
pub(crate) fn load(
    storage: &Arc<dyn Storage>,
    signer: &Arc<dyn Signer>,
    key: &NoteKey,
    segment_bytes: u64,
    seen: Seen,
) -> Result<Loaded, Error> {
    let Seen { mut state, walk } = seen;
    let walk = scan::walk(&**storage, key, walk, &mut |envelope, position| {
        take_in(&mut state, envelope, position)
    })?;
    if let Some(cut) = &walk.cut {
        cut_off(&**storage, cut)?;
    }
    let (cut, note) = (walk.cut, walk.chain.note.clone());
    let (storage, signer) = (Arc::clone(storage), Arc::clone(signer));
    let journal = Journal::resume(storage, signer, key.clone(), segment_bytes, walk);
    Ok(Loaded {
        journal,
        state,
        note,
        cut,
    })
}

/// The state that the records up to a place add up to, after memory ran ahead of a disk that failed.
pub(crate) fn reload(storage: &dyn Storage, end: Position) -> Result<State, Error> {
    let mut state = State::default();
    scan::frames(storage, scan::start(), end, &mut |payload, position| {
        let problem = |problem: &str| damaged(position.segment, position.offset, problem);
        let envelope = Envelope::parse(payload).map_err(|e| problem(&e.problem))?;
        take_in(&mut state, &envelope, position)
    })?;
    Ok(state)
}

fn take_in(state: &mut State, envelope: &Envelope<'_>, position: Position) -> Result<(), Error> {
    let wrong = |problem: &str| damaged(position.segment, position.offset, problem);
    let effect = Effect::read(envelope).map_err(|problem| wrong(&problem))?;
    let is_timed = match &effect {
        Effect::None => return Ok(()),
        Effect::Refuse { .. } | Effect::Token(_) | Effect::Budget(_) => false,
        Effect::Close { call, .. } => state.has_set_aside(*call),
        Effect::Open {
            reservations,
            approval,
            ..
        } => approval.is_some() || !reservations.is_empty(),
        Effect::Approve(_) | Effect::Agent(_) | Effect::Enrol(_) | Effect::Grant(_) => true,
    };
    let now = match is_timed {
        true => envelope.moment().map_err(|e| wrong(&e.problem))?,
        false => Timestamp::from_millis(0),
    };
    state
        .apply_effect(&effect, now)
        .map_err(|refused| wrong(&refused.to_string()))
}

fn cut_off(storage: &dyn Storage, cut: &Cut) -> Result<(), Error> {
    let size = usize::try_from(cut.bytes).unwrap_or(usize::MAX);
    let bytes = storage
        .read(cut.segment, cut.offset, size)
        .map_err(Error::disk("read the journal"))?;
    let name = format!("cut-{:08}-{}.bin", cut.segment, cut.offset);
    storage
        .set_aside(&name, &bytes)
        .map_err(Error::disk("keep a copy of an unfinished write"))?;
    storage
        .write(cut.segment, cut.offset, &vec![0; bytes.len()])
        .and_then(|()| storage.sync(cut.segment))
        .map_err(Error::disk("cut an unfinished write"))
}
