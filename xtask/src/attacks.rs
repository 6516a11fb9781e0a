//! The table of attacks in docs/THREATS.md: every attack has a row, and every test that a row names exists.

use std::{fs, path::Path};

/// How many attacks the table answers.
const ATTACKS: usize = 29;
/// How a row begins that has no test, with the reason behind it.
const OPEN: &str = "open: ";

/// Whether each attack has one row with a test that exists, or an honest reason.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(root.join("docs/THREATS.md"))?;
    Ok(check_text(&text, |file, test| {
        let code = fs::read_to_string(root.join(file)).unwrap_or_default();
        test.map_or(!code.is_empty(), |test| {
            code.contains(&format!("fn {test}(")) || code.contains(&format!("def {test}("))
        })
    }))
}

fn check_text(text: &str, exists: impl Fn(&str, Option<&str>) -> bool) -> Vec<String> {
    let mut problems = Vec::new();
    for number in 1..=ATTACKS {
        let start = format!("| T{number} |");
        let rows: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with(&start))
            .collect();
        let [row] = rows.as_slice() else {
            problems.push(format!(
                "docs/THREATS.md has {} rows for T{number}, expected one",
                rows.len()
            ));
            continue;
        };
        let last = row
            .trim_end_matches([' ', '|'])
            .rsplit(" | ")
            .next()
            .unwrap_or_default();
        if last.starts_with(OPEN) {
            continue;
        }
        let named: Vec<&str> = last.split('`').skip(1).step_by(2).collect();
        if named.is_empty() {
            problems.push(format!("docs/THREATS.md names no test for T{number}"));
        }
        for reference in named {
            let (file, test) = match reference.split_once("::") {
                Some((file, test)) => (file, Some(test)),
                None => (reference, None),
            };
            if !exists(file, test) {
                problems.push(format!(
                    "docs/THREATS.md names a test for T{number} that is not there: {reference}"
                ));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attack_has_a_test_or_a_reason() {
        assert_eq!(check(&crate::root()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_missing_row_and_a_missing_test_are_found() {
        let row = |number: usize, last: &str| format!("| T{number} | a | b | {last} |\n");
        let good: String = (1..=ATTACKS)
            .map(|number| row(number, "`a.rs::b`"))
            .collect();
        let is_known = |file: &str, test: Option<&str>| file == "a.rs" && test == Some("b");
        assert!(check_text(&good, is_known).is_empty());
        assert_eq!(check_text("", is_known).len(), ATTACKS);
        let bad = good.replace("| T7 | a | b | `a.rs::b` |", "| T7 | a | b | `a.rs::c` |");
        assert_eq!(check_text(&bad, is_known).len(), 1);
        let bare = good.replace("| T7 | a | b | `a.rs::b` |", "| T7 | a | b | we are sure |");
        assert_eq!(check_text(&bare, is_known).len(), 1);
        let open = good.replace(
            "| T7 | a | b | `a.rs::b` |",
            "| T7 | a | b | open: no payments yet |",
        );
        assert!(check_text(&open, is_known).is_empty());
    }
}
