//! Messages about configuration that look like a compiler's: file, line, caret, what to do.
//!
//! A check collects every problem into a [`Report`]; nothing stops at the first.

use std::{fmt, ops::Range, sync::Arc};

use serde::Serialize;

/// A text that is being checked, with the name to show for it.
#[derive(Debug, Clone)]
pub struct Source {
    /// The path as the user gave it.
    pub name: Arc<str>,
    /// The whole text.
    pub text: Arc<str>,
}

impl Source {
    /// Names a text.
    pub fn new(name: &str, text: &str) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
        }
    }
}

/// One problem at one place.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    /// Where, if it has a place.
    pub place: Option<(Source, Range<usize>)>,
    /// What is wrong, lower case, no full stop.
    pub message: String,
    /// What stands under the caret, or nothing.
    pub label: String,
    /// What to do next, if that is known.
    pub help: Option<String>,
}

impl Diagnostic {
    /// The line, counted from one, and the column in characters.
    pub fn line_column(&self) -> Option<(usize, usize)> {
        let (source, span) = self.place.as_ref()?;
        let before = source.text.get(..span.start.min(source.text.len()))?;
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            + 1;
        Some((line, column))
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.message)?;
        if let (Some((source, span)), Some((line, column))) = (&self.place, self.line_column()) {
            let shown = source
                .text
                .lines()
                .nth(line.saturating_sub(1))
                .unwrap_or_default();
            let rest = shown
                .chars()
                .count()
                .saturating_sub(column.saturating_sub(1))
                .max(1);
            let wide = source
                .text
                .get(span.clone())
                .map_or(1, |text| text.chars().count());
            let carets = "^".repeat(wide.clamp(1, rest));
            let indent: String = shown
                .chars()
                .take(column.saturating_sub(1))
                .map(|c| if c == '\t' { c } else { ' ' })
                .collect();
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            writeln!(f, "{margin}--> {}:{line}:{column}", source.name)?;
            writeln!(f, "{margin} |")?;
            writeln!(f, "{number} | {shown}")?;
            let label = if self.label.is_empty() {
                String::new()
            } else {
                format!(" {}", self.label)
            };
            writeln!(f, "{margin} | {indent}{carets}{label}")?;
            if let Some(help) = &self.help {
                writeln!(f, "{margin} = help: {help}")?;
            }
        } else if let Some(help) = &self.help {
            writeln!(f, " = help: {help}")?;
        }
        Ok(())
    }
}

impl Serialize for Diagnostic {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("message", &self.message)?;
        if let (Some((source, _)), Some((line, column))) = (&self.place, self.line_column()) {
            map.serialize_entry("file", &*source.name)?;
            map.serialize_entry("line", &line)?;
            map.serialize_entry("column", &column)?;
        }
        if let Some(help) = &self.help {
            map.serialize_entry("help", help)?;
        }
        map.end()
    }
}

/// Every problem found, in the order found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    problems: Vec<Diagnostic>,
}

impl Report {
    /// No problem yet.
    pub const fn new() -> Self {
        Self {
            problems: Vec::new(),
        }
    }

    /// Adds a problem at a place.
    pub fn at(
        &mut self,
        source: &Source,
        span: Range<usize>,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.push(Some((source.clone(), span)), message.into())
    }

    /// Adds a problem that has no place in a file.
    pub fn general(&mut self, message: impl Into<String>) -> &mut Diagnostic {
        self.push(None, message.into())
    }

    fn push(&mut self, place: Option<(Source, Range<usize>)>, message: String) -> &mut Diagnostic {
        self.problems.push(Diagnostic {
            place,
            message,
            label: String::new(),
            help: None,
        });
        let last = self.problems.len().saturating_sub(1);
        #[expect(clippy::indexing_slicing, reason = "one was pushed on the line above")]
        &mut self.problems[last]
    }

    /// Takes over the problems of another check.
    pub fn absorb(&mut self, other: Self) {
        self.problems.extend(other.problems);
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// The problems.
    pub fn problems(&self) -> &[Diagnostic] {
        &self.problems
    }
}

impl Diagnostic {
    /// Says what to do next.
    pub fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// Says something under the caret.
    pub fn label(&mut self, label: impl Into<String>) -> &mut Self {
        self.label = label.into();
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

/// The known name nearest to what was typed, if one is near.
pub fn did_you_mean<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |name: &str| strsim::damerau_levenshtein(typed, name);
    let limit = (typed.chars().count() / 3).max(1);
    let best = known.into_iter().map(|name| (near(name), name)).min();
    best.filter(|(distance, _)| *distance <= limit)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_its_line_a_caret_and_help() {
        let source = Source::new("tools/stripe.toml", "[api]\ncredential = \"stripe-prod\"\n");
        let mut report = Report::new();
        report
            .at(&source, 19..32, "unknown credential `stripe-prod`")
            .label("not defined in [credentials]")
            .help("did you mean `stripe_prod`?");
        let expect = "error: unknown credential `stripe-prod`\n --> tools/stripe.toml:2:14\n  |\n2 | credential = \"stripe-prod\"\n  |              ^^^^^^^^^^^^^ not defined in [credentials]\n  = help: did you mean `stripe_prod`?\n";
        assert_eq!(report.to_string(), expect);
    }

    #[test]
    fn suggestions_are_near_or_absent() {
        assert_eq!(did_you_mean("efect", ["effect", "tools"]), Some("effect"));
        assert_eq!(did_you_mean("zzz", ["effect", "tools"]), None);
    }
}
