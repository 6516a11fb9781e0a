//! Which tool is this, are its arguments valid, is it allowed, under which obligations.
//!
//! [`Policy::compile`] turns texts into one immutable [`Policy`]; the road then asks it three questions in order:
//! [`Policy::find`], [`Found::check`], [`Policy::decide`]. This crate never sees a secret, does no IO, reads no clock,
//! and has no path from an error to "allow". Read `policy.rs` next.

pub mod address;
mod arguments;
mod bounded;
mod cache;
pub mod cases;
mod cedar;
mod check;
mod context;
mod cost;
mod decide;
mod declare;
mod engine;
pub mod git;
pub mod granted;
pub mod graphql;
pub mod learn;
pub mod limits;
mod llm;
mod local;
mod observed;
pub mod openapi;
mod policy;
pub mod proof;
mod push;
pub mod replay;
mod response;
mod risk;
mod route;
mod rules;
mod schema;
mod settle;
mod tool;
mod why;
mod wire;

pub use arguments::{Arguments, Body, Request, Violation};
pub use cache::Cache;
pub use cost::Cost;
pub use decide::{Approve, Approver, Decision, Effect, Question, Remember, Silence};
pub use llm::{Api, LlmRules, ProviderTools, Usage, UsageReader, Written};
pub use local::{Depends, Exec, Local, Options, Output, Sign, SignFormat, Stdin, Template};
pub use policy::{Policy, Sources, World};
pub use response::{HiddenText, Markers, MintPlace, MintedAt, Mints, Pii, ResponseRules};
pub use risk::{RiskRules, SCORE_MAX, Signal};
pub use route::{Found, NotFound};
pub use settle::Unsettled;
pub use tool::{BodyNeed, Category, Protocol, Record, Slot, Strategy, Tool};
pub use why::{Explanation, LimitSeen, RuleSeen, Sight};
