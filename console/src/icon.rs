//! The few icons, drawn here. Each stands beside a word, so none is read out.

use maud::{Markup, PreEscaped, html};

/// An icon by the name of what it stands for.
pub(crate) fn of(name: &str) -> Markup {
    html! {
        svg.icon viewBox="0 0 20 20" width="20" height="20" aria-hidden="true" focusable="false" {
            (PreEscaped(strokes(name)))
        }
    }
}

const fn strokes(name: &str) -> &'static str {
    match name.as_bytes() {
        b"/" => r#"<path d="M2 10h3l2.5-6 4 12 2.5-6h4"/>"#,
        b"/approvals" => {
            r#"<path d="M10 2l6 2.5v5c0 4-2.6 6.800-6 8.500-3.400-1.700-6-4.500-6-8.500v-5z"/><path d="M7.500 9.800l1.900 1.900 3.300-3.600"/>"#
        }
        b"/agents" => {
            r#"<rect x="3.500" y="6" width="13" height="10" rx="2.500"/><path d="M10 6V3M7.300 10.500v1M12.700 10.500v1"/>"#
        }
        b"/policy" => r#"<path d="M4 3h9l3 3v11H4z"/><path d="M7 8h6M7 11h6M7 14h3"/>"#,
        b"/budgets" => r#"<path d="M3 17h14M5 14v-4M9 14V6M13 14v-6M17 14v-9"/>"#,
        b"/credentials" => {
            r#"<circle cx="6.500" cy="13.500" r="3.500"/><path d="M9 11l7-7M13 7l2.500 2.500"/>"#
        }
        b"/receipts" => {
            r#"<path d="M4.500 2.500h11v15l-2.200-1.500-1.700 1.500-1.600-1.500-1.600 1.500-1.700-1.500-2.200 1.500z"/><path d="M7.500 7h5M7.500 10.500h5"/>"#
        }
        b"/health" => {
            r#"<path d="M10 17S3 12.500 3 7.800C3 5 5 3.500 6.900 3.500c1.500 0 2.500.800 3.100 1.900.600-1.100 1.600-1.900 3.100-1.900C15 3.500 17 5 17 7.800 17 12.500 10 17 10 17z"/>"#
        }
        b"person" => {
            r#"<circle cx="10" cy="7" r="3.200"/><path d="M3.500 17c.800-3.500 3.400-5 6.500-5s5.700 1.500 6.500 5"/>"#
        }
        b"menu" => r#"<path d="M3 5.500h14M3 10h14M3 14.500h14"/>"#,
        _ => r#"<circle cx="10" cy="10" r="7"/><path d="M7 10h6"/>"#,
    }
}

/// The mark of the product: a gate, half open.
pub(crate) fn mark() -> Markup {
    html! {
        svg.mark viewBox="0 0 32 32" width="28" height="28" aria-hidden="true" focusable="false" {
            (PreEscaped(r#"<rect class="ground" width="32" height="32" rx="7"/><path class="post" d="M8 25V9a2 2 0 0 1 2-2h12a2 2 0 0 1 2 2v16"/><path class="leaf" d="M12 25V11l7 3v14z"/>"#))
        }
    }
}
