//! What an import has to say: notes about what was changed or left out, and problems that stop it.
//!
//! Nothing is dropped in silence: a note says where, what and why. What only documents (examples, links, extension
//! keys, responses) is left out without one.

use exeat_types::{Report, Source};

use super::document::locate;

/// Problems shown one by one; the rest are counted.
const SHOWN_MAX: usize = 40;

/// Something that an import changed or left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The tool it concerns, or `*` for the whole description.
    pub operation: String,
    /// What was changed, such as a parameter.
    pub what: String,
    /// Why; equal for every note of one kind, so that notes can be grouped by it.
    pub why: &'static str,
}

/// Notes of one kind together, in the order in which the kinds were first met.
pub fn grouped(notes: &[Note]) -> Vec<(&'static str, Vec<&Note>)> {
    let mut groups: Vec<(&'static str, Vec<&Note>)> = Vec::new();
    for note in notes {
        match groups.iter_mut().find(|(why, _)| *why == note.why) {
            Some((_, group)) => group.push(note),
            None => groups.push((note.why, vec![note])),
        }
    }
    groups
}

/// What was found so far.
pub(super) struct Findings {
    /// The tool that is being made.
    pub(super) operation: String,
    pub(super) notes: Vec<Note>,
    problems: Vec<(String, String)>,
}

impl Findings {
    /// Nothing yet; the first notes are about the whole description.
    pub(super) fn new() -> Self {
        Self {
            operation: "*".to_owned(),
            notes: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Something was changed or left out.
    pub(super) fn note(&mut self, what: impl Into<String>, why: &'static str) {
        self.notes.push(Note {
            operation: self.operation.clone(),
            what: what.into(),
            why,
        });
    }

    /// Something is wrong at this JSON pointer.
    pub(super) fn problem(&mut self, pointer: &str, message: impl Into<String>) {
        self.problems.push((pointer.to_owned(), message.into()));
    }

    /// The notes, if nothing was wrong.
    ///
    /// # Errors
    /// Every problem with its place in the text.
    pub(super) fn finish(mut self, source: &Source) -> Result<Vec<Note>, Report> {
        self.problems.dedup();
        if self.problems.is_empty() {
            return Ok(self.notes);
        }
        let mut report = Report::new();
        for (pointer, message) in self.problems.iter().take(SHOWN_MAX) {
            report
                .at(source, locate(&source.text, pointer), message)
                .help(format!("at `{pointer}`"));
        }
        if let Some(more) = self
            .problems
            .len()
            .checked_sub(SHOWN_MAX)
            .filter(|&more| more > 0)
        {
            report.general(format!("{more} more problems are not shown"));
        }
        Err(report)
    }
}
