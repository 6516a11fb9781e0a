//! Reading TOML with places: every value knows its span, every problem is collected, unknown keys are problems.
//!
//! A caller asks a [`Table`] for the keys it knows and ends with [`Table::finish`], which reports the rest with a
//! suggestion. Reading never stops at the first problem; a value that is wrong is reported and read as absent.

use std::{cell::RefCell, ops::Range};

use serde_json::{Map, Number, Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{Report, Source, did_you_mean};

/// A parsed TOML file that borrows its text.
pub struct Document<'a> {
    source: &'a Source,
    root: Spanned<DeTable<'a>>,
}

impl<'a> Document<'a> {
    /// Parses the text; every syntax error goes to the report.
    pub fn parse(source: &'a Source, report: &mut Report) -> Self {
        let (root, errors) = DeTable::parse_recoverable(&source.text);
        for error in errors {
            let end = source.text.len();
            let span = error.span().unwrap_or(end..end);
            report.at(source, span, error.message().trim().to_lowercase());
        }
        Self { source, root }
    }

    /// The top-level table.
    pub fn root(&self) -> Table<'_> {
        let table = self.root.get_ref();
        Table {
            source: self.source,
            table,
            span: 0..0,
            asked: RefCell::default(),
        }
    }
}

/// A table and the keys that were asked of it.
pub struct Table<'a> {
    source: &'a Source,
    table: &'a DeTable<'a>,
    span: Range<usize>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Table<'a> {
    /// The value of a key, if present.
    pub fn get(&self, key: &'static str) -> Option<Item<'a>> {
        self.asked.borrow_mut().push(key);
        let value = self.table.get(key)?;
        Some(Item {
            source: self.source,
            value,
        })
    }

    /// Takes a key for known: somebody else reads it.
    pub fn leave(&self, key: &'static str) {
        self.asked.borrow_mut().push(key);
    }

    /// The value of a key that must be there.
    pub fn need(&self, key: &'static str, report: &mut Report) -> Option<Item<'a>> {
        let found = self.get(key);
        if found.is_none() {
            report.at(
                self.source,
                self.span.clone(),
                format!("missing key `{key}`"),
            );
        }
        found
    }

    /// Every entry, for tables whose keys are names of the user's: key, its span, value. Marks all as known.
    pub fn entries(&self) -> Vec<(&'a str, Range<usize>, Item<'a>)> {
        let source = self.source;
        let entry = |(key, value): (&'a Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let name: &'a std::borrow::Cow<'a, str> = key.get_ref();
            (&**name, key.span(), Item { source, value })
        };
        self.table.iter().map(entry).collect()
    }

    /// Where the table stands.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The file the table stands in.
    pub fn source(&self) -> &'a Source {
        self.source
    }

    /// Reports every key that nobody asked for.
    pub fn finish(&self, report: &mut Report) {
        let asked = self.asked.borrow();
        for (key, _) in self.table {
            let name: &str = key.get_ref();
            if asked.contains(&name) {
                continue;
            }
            let problem = report.at(self.source, key.span(), format!("unknown key `{name}`"));
            match did_you_mean(name, asked.iter().copied()) {
                Some(near) => problem.help(format!("did you mean `{near}`?")),
                None => problem.help(format!("known keys: {}", asked.join(", "))),
            };
        }
    }
}

/// A value with its place.
#[derive(Clone, Copy)]
pub struct Item<'a> {
    source: &'a Source,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Item<'a> {
    /// Where the value stands.
    pub fn span(&self) -> Range<usize> {
        self.value.span()
    }

    /// The file the value stands in.
    pub fn source(&self) -> &'a Source {
        self.source
    }

    /// Reports a problem with this value.
    pub fn problem<'r>(
        &self,
        report: &'r mut Report,
        message: impl Into<String>,
    ) -> &'r mut crate::Diagnostic {
        report.at(self.source, self.span(), message)
    }

    fn wrong_type(&self, report: &mut Report, expected: &str) {
        let got = self.value.get_ref().type_str();
        self.problem(report, format!("expected {expected}, got {got}"));
    }

    /// The value as text.
    pub fn text(&self, report: &mut Report) -> Option<&'a str> {
        let found = self.value.get_ref().as_str();
        if found.is_none() {
            self.wrong_type(report, "a string");
        }
        found
    }

    /// Text that parses into a type of ours; what does not parse is reported here.
    pub fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
        &self,
        report: &mut Report,
    ) -> Option<T> {
        match self.text(report)?.parse() {
            Ok(value) => Some(value),
            Err(problem) => {
                self.problem(report, problem.to_string());
                None
            }
        }
    }

    /// Text that must be one of these words.
    pub fn word<T: Copy>(&self, report: &mut Report, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(report)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let listed = names
            .iter()
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", ");
        let problem = self.problem(report, format!("expected one of {listed}, got `{text}`"));
        if let Some(near) = did_you_mean(text, names) {
            problem.help(format!("did you mean `{near}`?"));
        }
        None
    }

    /// The value as a truth value.
    pub fn flag(&self, report: &mut Report) -> Option<bool> {
        let found = self.value.get_ref().as_bool();
        if found.is_none() {
            self.wrong_type(report, "true or false");
        }
        found
    }

    /// The value as a whole number that is not negative.
    pub fn count(&self, report: &mut Report) -> Option<u64> {
        let Some(integer) = self.value.get_ref().as_integer() else {
            self.wrong_type(report, "a whole number");
            return None;
        };
        let parsed = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        if parsed.is_none() {
            self.problem(report, "expected a whole number that is not negative");
        }
        parsed
    }

    /// The value as an array of items.
    pub fn items(&self, report: &mut Report) -> Vec<Self> {
        let source = self.source;
        if let Some(array) = self.value.get_ref().as_array() {
            return array.iter().map(|value| Item { source, value }).collect();
        }
        self.wrong_type(report, "an array");
        Vec::new()
    }

    /// The value as a table.
    pub fn table(&self, report: &mut Report) -> Option<Table<'a>> {
        let Some(table) = self.value.get_ref().as_table() else {
            self.wrong_type(report, "a table");
            return None;
        };
        Some(Table {
            source: self.source,
            table,
            span: self.span(),
            asked: RefCell::default(),
        })
    }

    /// Whether the value is a table.
    pub fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    /// Whether the value is an array.
    pub fn is_list(&self) -> bool {
        self.value.get_ref().is_array()
    }

    /// The value as JSON, for schemas. Dates are reported; so are integers beyond 64 bits.
    pub fn json(&self, report: &mut Report) -> Option<Value> {
        let source = self.source;
        match self.value.get_ref() {
            DeValue::String(text) => Some(Value::String(text.to_string())),
            DeValue::Boolean(flag) => Some(Value::Bool(*flag)),
            DeValue::Integer(integer) => {
                let parsed = i64::from_str_radix(integer.as_str(), integer.radix());
                let Ok(number) = parsed else {
                    self.problem(report, "expected a number of at most 64 bits");
                    return None;
                };
                Some(Value::Number(number.into()))
            }
            DeValue::Float(float) => {
                let number = float.as_str().parse().ok().and_then(Number::from_f64);
                if number.is_none() {
                    self.problem(report, "expected a finite number");
                }
                number.map(Value::Number)
            }
            DeValue::Datetime(_) => {
                self.problem(report, "a date is not a JSON value; write it as a string");
                None
            }
            DeValue::Array(array) => {
                let items = array
                    .iter()
                    .map(|value| Item { source, value }.json(report));
                items.collect::<Option<Vec<_>>>().map(Value::Array)
            }
            DeValue::Table(table) => {
                let mut members = Map::new();
                for (key, value) in table {
                    members.insert(
                        key.get_ref().to_string(),
                        Item { source, value }.json(report)?,
                    );
                }
                Some(Value::Object(members))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_reported_with_its_place() {
        let source = Source::new("a.toml", "agnets = 3\nname = 4\n[inner]\nflag = \"yes\"\n");
        let mut report = Report::new();
        let document = Document::parse(&source, &mut report);
        let root = document.root();
        assert!(root.get("agents").is_none());
        assert!(
            root.need("name", &mut report)
                .and_then(|item| item.text(&mut report))
                .is_none()
        );
        let inner = root
            .get("inner")
            .and_then(|item| item.table(&mut report))
            .unwrap();
        assert!(
            inner
                .get("flag")
                .and_then(|item| item.flag(&mut report))
                .is_none()
        );
        inner.finish(&mut report);
        root.finish(&mut report);
        let lines: Vec<_> = report
            .problems()
            .iter()
            .map(|p| (p.line_column().unwrap().0, p.message.clone()))
            .collect();
        let expect = [
            (2, "expected a string, got integer".to_owned()),
            (4, "expected true or false, got string".to_owned()),
            (1, "unknown key `agnets`".to_owned()),
        ];
        assert_eq!(lines, expect);
        assert_eq!(
            report.problems()[2].help.as_deref(),
            Some("did you mean `agents`?")
        );
    }

    #[test]
    fn syntax_errors_have_a_place() {
        let source = Source::new("a.toml", "a = \nb = 2\n");
        let mut report = Report::new();
        Document::parse(&source, &mut report);
        assert_eq!(report.problems()[0].line_column().unwrap().0, 1);
    }
}
