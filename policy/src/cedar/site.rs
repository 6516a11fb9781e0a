//! Showing what Cedar found at the place where the operator wrote it.

use std::ops::Range;

use exeat_types::{Report, Source};
use miette::Diagnostic as _;

use super::draft::drafts;
use crate::rules::{Expression, Rule};

/// Where a policy comes from.
pub(crate) enum Site<'r> {
    /// A rule in TOML.
    Rule(&'r Rule),
    /// A part of a Cedar file.
    Text(&'r Source, Range<usize>),
}

impl Site<'_> {
    /// Reports a problem at a place of the text of part `index`, or at the whole if it has no place there.
    pub(crate) fn say<'p>(
        &self,
        index: usize,
        at: Option<Range<usize>>,
        message: String,
        report: &'p mut Report,
    ) -> &'p mut exeat_types::Diagnostic {
        match self {
            Self::Text(source, whole) => {
                report.at(source, at.unwrap_or_else(|| whole.clone()), message)
            }
            Self::Rule(rule) => {
                let pieces = drafts(rule)
                    .into_iter()
                    .nth(index)
                    .map(|draft| draft.pieces)
                    .unwrap_or_default();
                let inside = at.and_then(|at| {
                    let (range, piece) = pieces
                        .into_iter()
                        .find(|(range, _)| range.contains(&at.start))?;
                    let part =
                        at.start.saturating_sub(range.start)..at.end.saturating_sub(range.start);
                    Some(piece.of(rule)?.place(part))
                });
                report.at(
                    &rule.source,
                    inside.unwrap_or_else(|| rule.at.clone()),
                    message,
                )
            }
        }
    }

    /// Reports a parse error inside an expression of a rule.
    pub(crate) fn say_parse(
        &self,
        expression: &Expression,
        problem: &cedar_policy::ParseError,
        report: &mut Report,
    ) {
        let Self::Rule(rule) = self else { return };
        let at = label(problem).map_or_else(|| expression.at.clone(), |at| expression.place(at));
        let diagnostic = report.at(&rule.source, at, problem.to_string());
        if let Some(help) = problem.help() {
            diagnostic.help(help.to_string());
        }
    }

    /// Reports a problem where a text is written first, or at the whole.
    pub(crate) fn say_near<'p>(
        &self,
        text: &str,
        message: String,
        report: &'p mut Report,
    ) -> &'p mut exeat_types::Diagnostic {
        match self.mention(text) {
            Some((source, at)) => report.at(&source, at, message),
            None => self.say(0, None, message, report),
        }
    }

    fn mention(&self, name: &str) -> Option<(Source, Range<usize>)> {
        let find = |text: &str| {
            let at = text.find(name)?;
            Some(at..at.saturating_add(name.len()))
        };
        match self {
            Self::Rule(rule) => {
                let expressions = [&rule.when, &rule.unless].into_iter().flatten();
                let mut found = expressions.filter_map(|one| Some(one.place(find(&one.text)?)));
                found.next().map(|at| (rule.source.clone(), at))
            }
            Self::Text(source, whole) => {
                let at = find(source.text.get(whole.clone())?)?;
                let start = whole.start.saturating_add(at.start);
                Some(((*source).clone(), start..start.saturating_add(name.len())))
            }
        }
    }
}

/// The first place that an error of Cedar points to.
pub(crate) fn label(problem: &dyn miette::Diagnostic) -> Option<Range<usize>> {
    let label = problem.labels()?.next()?;
    Some(label.offset()..label.offset().saturating_add(label.len()))
}
