//! Limits in plain English, for people who did not write them.

use std::fmt;

use exeat_types::amount_in_words;

use super::{Budget, FirstUse, Human, Limit, Measure, Rate, Share, period::time_in_words};
use crate::rules::Who;

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clauses = self.clauses();
        let who = self.whom();
        let together = match self.share {
            Share::Together => " together",
            Share::Each => "",
        };
        let scope = self.scope();
        if !clauses.is_empty() {
            write!(f, "{who} may{together}{scope} {}.", list(&clauses, "and"))?;
        } else if self.asks().is_empty() {
            write!(f, "{who} has no limit{scope}.")?;
        }
        let mut space = if clauses.is_empty() { "" } else { " " };
        for ask in self.asks() {
            write!(f, "{space}{ask}")?;
            space = " ";
        }
        Ok(())
    }
}

impl Limit {
    fn whom(&self) -> String {
        let words: Vec<String> = self.who.iter().map(one_of).collect();
        list(&words, "and")
    }

    fn scope(&self) -> String {
        let tools = match self.tools.as_slice() {
            [] => String::new(),
            [all] if all == "*" => String::new(),
            tools => format!(" of {}", list(tools, "and")),
        };
        match (tools.as_str(), self.categories.as_slice()) {
            ("", []) => String::new(),
            (_, []) => format!(", in calls{tools},"),
            (_, categories) => format!(", in {} calls{tools},", list(categories, "and")),
        }
    }

    fn clauses(&self) -> Vec<String> {
        let mut clauses = Vec::new();
        if let Some(rate) = &self.rate {
            clauses.push(rate_in_words(rate));
        }
        match self.concurrency {
            Some(1) => clauses.push("have one call open at a time".to_owned()),
            Some(count) => clauses.push(format!("have {count} calls open at a time")),
            None => {}
        }
        if !self.hours.is_always() {
            clauses.push(format!("work {}", self.hours));
        }
        if let Some(session) = self.session {
            clauses.push(format!("work {} at a time", time_in_words(session)));
        }
        if self.human == Human::Present {
            clauses.push("work only while a human is present".to_owned());
        }
        clauses.extend(self.budgets.iter().map(budget_in_words));
        clauses
    }

    fn asks(&self) -> Vec<String> {
        let mut asks = Vec::new();
        if let Some(call) = &self.ask_above.call {
            asks.push(format!(
                "A human is asked when a call costs more than {call}."
            ));
        }
        if let Some(day) = &self.ask_above.day {
            asks.push(format!(
                "A human is asked when a day costs more than {day}."
            ));
        }
        match self.first_use {
            FirstUse::Allow => {}
            FirstUse::Prompt => {
                asks.push("A human is asked before a host is used for the first time.".to_owned());
            }
            FirstUse::Deny => asks.push("Hosts that were not used before are refused.".to_owned()),
        }
        asks
    }
}

fn one_of(who: &Who) -> String {
    match who {
        Who::Everyone => "everyone".to_owned(),
        Who::Agent(agent) => agent.to_string(),
        Who::Group(group) => format!("everyone in the group {group}"),
    }
}

fn rate_in_words(rate: &Rate) -> String {
    let per = match rate.per.as_secs() {
        1 => "a second",
        60 => "a minute",
        _ => "an hour",
    };
    let requests = if rate.count == 1 {
        "request"
    } else {
        "requests"
    };
    format!(
        "make {} {requests} {per}, {} at once",
        rate.count, rate.burst
    )
}

fn budget_in_words(budget: &Budget) -> String {
    let verb = match budget.measure {
        Measure::Spend => "spend",
        Measure::Calls => "make",
        Measure::BytesUp => "send",
        Measure::BytesDown => "receive",
        Measure::Tokens => "use",
    };
    let amount = |amount: u64| amount_in_words(amount, &budget.unit);
    let call = budget.call.map(|most| format!("{} a call", amount(most)));
    let periods = budget
        .periods
        .iter()
        .map(|(period, most)| format!("{} {}", amount(*most), period.in_words()));
    let amounts: Vec<String> = call.into_iter().chain(periods).collect();
    format!("{verb} at most {}", list(&amounts, "and"))
}

/// `a`, `a and b`, `a, b and c`.
fn list(words: &[String], last: &str) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., end] => format!("{} {last} {end}", first.join(", ")),
    }
}
