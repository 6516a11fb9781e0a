//! Two texts compared line by line: what is gone, what has come, and a little of what stayed around it.

use maud::{Markup, html};

use crate::{
    layout::{Tone, counted, notice},
    visible::Drawing,
};

/// Lines of both, multiplied, that are compared; beyond that they are shown one after the other.
const CELLS_MAX: usize = 4_000_000;
/// Lines that stayed, around a change.
const AROUND: usize = 3;
/// Lines that are drawn.
const LINES_MAX: usize = 20_000;
/// The markup that their texts may become.
const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Same(&'a str),
    Gone(&'a str),
    Come(&'a str),
}

/// The changes from one to the other; nothing if there are none.
pub(super) fn changes(old: &[String], new: &[String]) -> Option<Markup> {
    if old == new {
        return None;
    }
    let lines = compared(old, new);
    let near: Vec<bool> = (0..lines.len())
        .map(|at| {
            let from = at.saturating_sub(AROUND);
            let around = lines.iter().skip(from).take(at - from + AROUND + 1);
            around
                .into_iter()
                .any(|line| !matches!(line, Line::Same(_)))
        })
        .collect();
    let (lines, is_whole) = drawn(&lines, &near);
    Some(html! {
        @if !is_whole {
            (notice(Tone::Bad, html! { p { "There are more changes than a page can show. The comparison ends early; the request above does not." } }))
        }
        div.text.diff role="group" aria-label="Changes since the last approved request" tabindex="0" { (lines) }
    })
}

/// The lines near a change as far as there is room, and whether there was.
fn drawn(lines: &[Line<'_>], near: &[bool]) -> (Markup, bool) {
    let mut parts = Vec::new();
    let (mut skipped, mut room, mut count, mut is_whole) = (0_u64, TEXT_BYTES_MAX, 0_usize, true);
    for (line, near) in lines.iter().zip(near) {
        if !near {
            skipped = skipped.saturating_add(1);
            continue;
        }
        count = count.saturating_add(1);
        if count > LINES_MAX || room == 0 {
            is_whole = false;
            break;
        }
        parts.push(left_out(std::mem::take(&mut skipped)));
        let (Line::Same(text) | Line::Gone(text) | Line::Come(text)) = line;
        let mut drawing = Drawing::of(room);
        drawing.text(text);
        room = room.saturating_sub(drawing.drawn());
        is_whole &= drawing.left() == 0;
        let text = drawing.end();
        parts.push(match line {
            Line::Same(_) => html! { span { (text) } },
            Line::Gone(_) => html! {
                span.gone data-sign="-" { span.unseen { "removed: " } (text) }
            },
            Line::Come(_) => html! {
                span.come data-sign="+" { span.unseen { "added: " } (text) }
            },
        });
    }
    parts.push(left_out(skipped));
    (html! { @for part in &parts { (part) } }, is_whole)
}

fn left_out(count: u64) -> Markup {
    html! {
        @if count > 0 { span.skipped { (counted(count, "equal line", "equal lines")) } }
    }
}

/// The longest common subsequence, between a common head and a common tail.
fn compared<'a>(old: &'a [String], new: &'a [String]) -> Vec<Line<'a>> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (same, old) = old.split_at_checked(head).unwrap_or((old, &[]));
    let (_, new) = new.split_at_checked(head).unwrap_or((new, &[]));
    let ends = old.iter().rev().zip(new.iter().rev());
    let tail = ends.take_while(|(a, b)| a == b).count();
    let (old, end) = old.split_at_checked(old.len() - tail).unwrap_or((old, &[]));
    let (new, _) = new.split_at_checked(new.len() - tail).unwrap_or((new, &[]));
    let mut lines: Vec<Line<'a>> = same.iter().map(|line| Line::Same(line)).collect();
    if old.len().saturating_mul(new.len()) > CELLS_MAX {
        lines.extend(old.iter().map(|line| Line::Gone(line)));
        lines.extend(new.iter().map(|line| Line::Come(line)));
    } else {
        middle(old, new, &mut lines);
    }
    lines.extend(end.iter().map(|line| Line::Same(line)));
    lines
}

fn middle<'a>(old: &'a [String], new: &'a [String], lines: &mut Vec<Line<'a>>) {
    let width = new.len() + 1;
    let mut longest = vec![0_u32; (old.len() + 1) * width];
    let at = |longest: &[u32], i: usize, j: usize| longest.get(i * width + j).copied().unwrap_or(0);
    for (i, a) in old.iter().enumerate().rev() {
        for (j, b) in new.iter().enumerate().rev() {
            let best = if a == b {
                at(&longest, i + 1, j + 1).saturating_add(1)
            } else {
                at(&longest, i + 1, j).max(at(&longest, i, j + 1))
            };
            if let Some(cell) = longest.get_mut(i * width + j) {
                *cell = best;
            }
        }
    }
    let (mut i, mut j) = (0, 0);
    loop {
        match (old.get(i), new.get(j)) {
            (Some(a), Some(b)) if a == b => {
                lines.push(Line::Same(a));
                (i, j) = (i + 1, j + 1);
            }
            (Some(a), b) if b.is_none() || at(&longest, i + 1, j) >= at(&longest, i, j + 1) => {
                lines.push(Line::Gone(a));
                i += 1;
            }
            (_, Some(b)) => {
                lines.push(Line::Come(b));
                j += 1;
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn equal_texts_have_no_changes() {
        assert!(changes(&split("a\nb"), &split("a\nb")).is_none());
    }

    #[test]
    fn a_changed_line_stands_between_its_neighbours() {
        let old = split("1\n2\n3\n4\n5\nold\n7\n8\n9\n10\n11");
        let new = split("1\n2\n3\n4\n5\nnew\n7\n8\n9\n10\n11");
        let page = changes(&old, &new).unwrap().into_string();
        assert_eq!(page.matches("2 equal lines").count(), 2, "{page}");
        assert!(page.contains("removed: </span>old") && page.contains("added: </span>new"));
    }

    #[test]
    fn what_hides_is_spelled_out_here_too() {
        let page = changes(&split("a"), &split("a\u{200b}"))
            .unwrap()
            .into_string();
        assert!(page.contains("U+200B"), "{page}");
    }

    #[test]
    fn a_comparison_stays_small_and_says_where_it_ends() {
        let texts = ["\u{1}a".repeat(4 << 20), "x\n".repeat(1 << 20)];
        for text in texts {
            let page = changes(&split("a"), &split(&text)).unwrap().into_string();
            assert!(page.len() < 6 << 20, "{}", page.len());
            assert!(page.contains("The comparison ends early"));
        }
    }

    proptest! {
        #[test]
        fn each_text_can_be_read_from_the_comparison(
            old in prop::collection::vec("[ab]", 0..12),
            new in prop::collection::vec("[ab]", 0..12),
        ) {
            let lines = compared(&old, &new);
            let before: Vec<&str> = lines.iter().filter_map(|line| match line {
                Line::Same(text) | Line::Gone(text) => Some(*text),
                Line::Come(_) => None,
            }).collect();
            let after: Vec<&str> = lines.iter().filter_map(|line| match line {
                Line::Same(text) | Line::Come(text) => Some(*text),
                Line::Gone(_) => None,
            }).collect();
            prop_assert_eq!(before, old.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert_eq!(after, new.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
}
