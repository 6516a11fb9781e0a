//! `exeat policy diff`: what a change of rules would have meant for the calls that were made.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use exeat_policy::{
    Approve, Policy,
    replay::{Difference, Early, Outcome, Past, Verdict, difference, may_open},
};
use exeat_types::{CallId, Clock as _, Reason, SystemClock, Timestamp, ToolName};
use serde::Serialize;

use super::{Place, sides};
use crate::{
    args::PolicyDiff,
    socket::{PastCall, ReceiptFilter, Request},
    ui::{self, Ending, Output, Paint},
};

/// Calls between two words to a person who waits.
const PROGRESS: u64 = 1_000;

/// One call that the two policies do not decide alike.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Line {
    difference: Difference,
    receipt: CallId,
    time: Timestamp,
    agent: String,
    tool: String,
    before: Outcome,
    after: Outcome,
}

/// What came of it all.
#[derive(Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Counts {
    replayed: u64,
    wider: u64,
    narrower: u64,
    otherwise: u64,
    undecided: u64,
    /// Refused before any rule was asked, so that there is nothing to decide again.
    early: u64,
    /// Let through by observing, not by a rule.
    observed: u64,
}

pub(super) fn diff(place: &Place, order: &PolicyDiff) -> anyhow::Result<Ending> {
    let before = sides::read(place, &order.old)?;
    let after = sides::read(place, &order.new)?;
    let now = SystemClock::new().now();
    let since = now
        .millis()
        .saturating_sub(u64::try_from(order.since.as_millis()).context("that is too long ago")?);
    let filter = ReceiptFilter {
        agent: order.agent.clone(),
        since: Some(Timestamp::from_millis(since)),
        ..ReceiptFilter::default()
    };
    let sides = (&before, &after);
    let mut counts = Counts::default();
    let progress = std::io::stderr().is_terminal() && place.output == Output::Text;
    for item in place.gate()?.ask(&Request::Past(filter), &[])? {
        let call: PastCall =
            serde_json::from_value(item?).context("cannot read the gate's answer")?;
        if opens(sides, &call) {
            counts.undecided = counts.undecided.saturating_add(1);
            let line = Opened::of(&call);
            place.print(&line, || line.told())?;
        }
        let Some(past) = decidable(&call, &before, &mut counts) else {
            continue;
        };
        counts.replayed = counts.replayed.saturating_add(1);
        if progress && counts.replayed.is_multiple_of(PROGRESS) {
            ui::say(format_args!("{} calls replayed ...", counts.replayed));
        }
        let (was, is) = (before.replay(&past), after.replay(&past));
        let Some(found) = difference(&was, &is) else {
            continue;
        };
        let count = match found {
            Difference::Wider => &mut counts.wider,
            Difference::Narrower => &mut counts.narrower,
            Difference::Otherwise => &mut counts.otherwise,
            Difference::Undecided => &mut counts.undecided,
        };
        *count = count.saturating_add(1);
        let line = Line {
            difference: found,
            receipt: call.call,
            time: call.opened,
            agent: past.agent.to_string(),
            tool: past.tool.to_string(),
            before: was,
            after: is,
        };
        place.print(&line, || told(&line))?;
    }
    finish(place, &counts)
}

/// A request that was refused before any rule was asked, and that the newer side may take.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Opened {
    difference: Difference,
    receipt: CallId,
    time: Timestamp,
    agent: String,
    refused: Option<Reason>,
    request: String,
}

impl Opened {
    fn of(call: &PastCall) -> Self {
        Self {
            difference: Difference::Undecided,
            receipt: call.call,
            time: call.opened,
            agent: call.agent.to_string(),
            refused: call.refused,
            request: format!("{} {}", call.method, call.origin),
        }
    }

    fn told(&self) -> String {
        let word = Paint::on_stdout().bold("undecided ");
        let refused = self.refused.map_or("refused", Reason::code);
        format!(
            "{word} {}  {}  {}  {}\n           {refused} before any rule was asked, and there are other tools now",
            self.time, self.receipt, self.agent, self.request
        )
    }
}

/// Whether a request that no tool took may be taken by the newer side.
fn opens(sides: (&Policy, &Policy), call: &PastCall) -> bool {
    let early = matches!(
        call.refused,
        Some(Reason::ToolUnknown | Reason::ArgumentsInvalid)
    );
    let method = call.method.parse();
    let (true, Ok(method)) = (early, method) else {
        return false;
    };
    let early = Early {
        tool: call.tool.as_ref().map(ToolName::as_str),
        method: &method,
        origin: &call.origin,
    };
    may_open(sides, &early)
}

/// The call as policy takes it, if a rule was ever asked about it.
fn decidable(call: &PastCall, before: &Policy, counts: &mut Counts) -> Option<Past> {
    if call.observed {
        counts.observed = counts.observed.saturating_add(1);
        return None;
    }
    let early = call.refused.is_some_and(is_early);
    let (Some(tool), false, Ok(method)) = (&call.tool, early, call.method.parse()) else {
        counts.early = counts.early.saturating_add(1);
        return None;
    };
    Some(Past {
        agent: call.agent.clone(),
        tool: tool.clone(),
        method,
        origin: call.origin.clone(),
        // The receipt of a refusal does not say where the tool stands; the older policy does.
        template: call.template.clone().or_else(|| {
            let known = before.tool(tool.as_str());
            known.map(|tool| tool.template.clone())
        }),
        arguments: call.arguments.clone(),
    })
}

/// Whether a refusal came before the rules were asked.
fn is_early(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::MalformedRequest
            | Reason::AgentUnknown
            | Reason::TargetForbidden
            | Reason::ToolUnknown
            | Reason::ArgumentsInvalid
            | Reason::BodyTooLarge
    )
}

fn told(line: &Line) -> String {
    let paint = Paint::on_stdout();
    let side = |outcome: &Outcome| {
        let rules = if outcome.rules.is_empty() {
            String::new()
        } else {
            format!(" by `{}`", outcome.rules.join("`, `"))
        };
        let tool = outcome.tool.as_ref();
        let tool = tool.map(|tool| format!(" as `{tool}`")).unwrap_or_default();
        let credential = outcome.credential.as_ref();
        let credential = credential
            .filter(|_| line.before.credential != line.after.credential)
            .map(|id| format!(" with `{id}`"))
            .unwrap_or_default();
        let moved = outcome.moved.as_ref();
        let moved = moved
            .map(|place| format!(", as `{}` leads to {place}", line.tool))
            .unwrap_or_default();
        let approve = outcome.approve.map(asked_of);
        let approve = approve
            .filter(|_| line.before.approve != line.after.approve)
            .unwrap_or_default();
        format!(
            "{}{approve}{rules}{tool}{credential}{moved}",
            outcome.verdict.name()
        )
    };
    let word = match line.difference {
        Difference::Wider => paint.red("wider     "),
        Difference::Narrower => paint.green("narrower  "),
        Difference::Otherwise => "otherwise ".to_owned(),
        Difference::Undecided => paint.bold("undecided "),
    };
    let unknown = [&line.before, &line.after]
        .iter()
        .any(|outcome| outcome.verdict == Verdict::Unknown);
    let change = match line.difference {
        Difference::Undecided if unknown => format!(
            "{} -> {}: rules read its arguments, which were not kept",
            side(&line.before),
            side(&line.after)
        ),
        Difference::Wider
        | Difference::Narrower
        | Difference::Otherwise
        | Difference::Undecided => {
            format!("{} -> {}", side(&line.before), side(&line.after))
        }
    };
    format!(
        "{word} {}  {}  {}  {}\n           {change}",
        line.time, line.receipt, line.agent, line.tool
    )
}

/// What an approval has to look like, in words.
fn asked_of(approve: Approve) -> String {
    format!(
        " ({}, {}, {} people, {} devices, open for {}s)",
        approve.by.name(),
        approve.remember,
        approve.approvers,
        approve.devices,
        approve.open_for().as_secs()
    )
}

fn finish(place: &Place, counts: &Counts) -> anyhow::Result<Ending> {
    match place.output {
        Output::Json => ui::json(counts)?,
        Output::Text => {
            ui::say(format_args!(
                "{} calls replayed: {} wider, {} narrower, {} otherwise, {} undecided",
                counts.replayed, counts.wider, counts.narrower, counts.otherwise, counts.undecided
            ));
            if counts.early > 0 || counts.observed > 0 {
                ui::say(format_args!(
                    "not replayed: {} refused before any rule was asked, {} passed by observing",
                    counts.early, counts.observed
                ));
            }
            ui::say(
                "limits, risk and approvals are not replayed; a call nobody made is not in here: `exeat policy prove` asks about all",
            );
        }
    }
    Ok(if counts.wider == 0 && counts.undecided == 0 {
        Ending::Done
    } else {
        Ending::Refused
    })
}
