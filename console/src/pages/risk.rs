//! What spoke against a call, in words.

use exeat_ledger::Risk;
use maud::{Markup, html};

/// One line: the score, and what it is made of.
pub(crate) fn line(risk: &Risk) -> Markup {
    html! {
        (risk.score) " of 100"
        @if !risk.signals.is_empty() {
            ": "
            @for (at, (signal, weight)) in risk.signals.iter().enumerate() {
                @if at > 0 { ", " }
                (signal.replace('-', " ")) " (" (weight) ")"
            }
        }
    }
}
