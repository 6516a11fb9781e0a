//! Charts, drawn here as SVG. Each stands beside the same in words, so none is read out.

use maud::{Markup, html};

/// Bars of a chart over time.
pub(super) const BARS: usize = 30;

const HEIGHT: u64 = 56;
const STEP: usize = 20;

/// Two rows of numbers over time, one upon the other, oldest on the left.
pub(super) fn bars(lower: &[u64; BARS], upper: &[u64; BARS]) -> Markup {
    let most = lower.iter().zip(upper);
    let most = most.map(|(one, other)| one.saturating_add(*other)).max();
    let most = most.unwrap_or(0).max(1);
    let scaled = |count: u64| match count {
        0 => 0,
        count => (count.saturating_mul(HEIGHT) / most).max(2),
    };
    html! {
        svg.chart.bars viewBox=(format!("0 0 {} 64", STEP * BARS)) height="64" preserveAspectRatio="none" aria-hidden="true" {
            @for (at, (below, above)) in lower.iter().zip(upper).enumerate() {
                @let (low, high) = (scaled(*below), scaled(*above));
                @let left = at * STEP + 3;
                @if low > 0 {
                    rect.good x=(left) y=(60_u64.saturating_sub(low)) width=(STEP - 6) height=(low) rx="2" {}
                }
                @if high > 0 {
                    rect.bad x=(left) y=(60_u64.saturating_sub(low + high)) width=(STEP - 6) height=(high) rx="2" {}
                }
            }
            line.axis x1="0" y1="61" x2=(STEP * BARS) y2="61" {}
        }
    }
}

/// How much of something is used, set aside and kept for calls whose end is unknown.
pub(super) struct Parts {
    pub(super) spent: u64,
    pub(super) reserved: u64,
    pub(super) held: u64,
    pub(super) limit: u64,
}

/// One bar of the parts of a whole.
pub(super) fn meter(parts: &Parts) -> Markup {
    let whole = parts.limit.max(1);
    let used = parts
        .spent
        .saturating_add(parts.held)
        .saturating_add(parts.reserved);
    let whole = whole.max(used);
    let wide = |amount: u64| {
        let share = u128::from(amount).saturating_mul(1000) / u128::from(whole);
        if amount > 0 { share.max(4) } else { 0 }
    };
    let (spent, held, reserved) = (wide(parts.spent), wide(parts.held), wide(parts.reserved));
    html! {
        svg.chart.meter viewBox="0 0 1000 14" height="14" preserveAspectRatio="none" aria-hidden="true" {
            rect.track x="0.500" y="0.500" width="999" height="13" rx="3" {}
            @if spent > 0 { rect.used x="0" y="0" width=(spent) height="14" rx="3" {} }
            @if held > 0 { rect.held x=(spent) y="0" width=(held) height="14" rx="3" {} }
            @if reserved > 0 { rect.reserved x=(spent + held) y="0" width=(reserved) height="14" rx="3" {} }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_never_leaves_its_frame() {
        let parts = Parts {
            spent: u64::MAX,
            reserved: u64::MAX,
            held: 1,
            limit: 1,
        };
        let drawn = meter(&parts).into_string();
        assert!(drawn.contains("width=\"1000\""), "{drawn}");
        let nothing = Parts {
            spent: 0,
            reserved: 0,
            held: 0,
            limit: 0,
        };
        assert_eq!(meter(&nothing).into_string().matches("<rect").count(), 1);
    }

    #[test]
    fn a_single_call_can_be_seen_beside_many() {
        let (mut many, mut one) = ([0; BARS], [0; BARS]);
        (many[0], one[29]) = (100_000, 1);
        let drawn = bars(&many, &one).into_string();
        assert!(drawn.contains("height=\"2\""), "{drawn}");
    }
}
