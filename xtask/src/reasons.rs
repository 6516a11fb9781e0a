//! docs/REASONS.md lists exactly the reasons of `exeat_types::Reason`.

use std::{fs, path::Path};

use exeat_types::Reason;

/// The heading of the table.
const HEADING: &str =
    "| code | status | fault | retry | title | what to do |\n|---|---|---|---|---|---|\n";

/// The table as it stands in docs/REASONS.md.
pub(crate) fn table() -> String {
    let rows = Reason::ALL.iter().map(|reason| {
        let retry = if reason.retry() { "yes" } else { "no" };
        let (code, status, fault) = (reason.code(), reason.status(), reason.fault().name());
        format!(
            "| `{code}` | {status} | {fault} | {retry} | {} | {} |\n",
            reason.title(),
            reason.hint()
        )
    });
    std::iter::once(HEADING.to_owned()).chain(rows).collect()
}

/// Whether the document has every row, and no other code.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(root.join("docs/REASONS.md"))?;
    Ok(check_text(&text))
}

fn check_text(text: &str) -> Vec<String> {
    let table = table();
    let is_row = |line: &&str| line.starts_with("| `");
    let expected: Vec<&str> = table.lines().filter(is_row).collect();
    let found: Vec<&str> = text.lines().filter(is_row).collect();
    let missing = expected.iter().filter(|row| !found.contains(row));
    let missing = missing.map(|row| format!("docs/REASONS.md lacks: {row}"));
    let strange = found.iter().filter(|row| !expected.contains(row));
    missing
        .chain(strange.map(|row| format!("docs/REASONS.md has, but the code does not: {row}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_and_the_enum_are_one() {
        assert_eq!(check(&crate::root()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_missing_and_a_strange_row_are_found() {
        assert!(check_text(&table()).is_empty());
        assert_eq!(
            check_text("| `no-such-code` | 400 |\n").len(),
            Reason::ALL.len() + 1
        );
    }
}
