//! The gate's own door, `<data>/exeat.sock`: how every command that reads or changes state talks to the one gate.
//!
//! One connection carries one request: a line of JSON, file descriptors beside it where the request needs them, then
//! lines of JSON back: any number of `{"item": ...}`, and `{"done": true}` or `{"error": ...}` at the end. A secret never
//! travels in the JSON: it comes through a pipe that the client hands over. `protocol.rs` has the words, `answer.rs` what
//! the gate implements, `server.rs` and `client.rs` the two ends, `rights.rs` the descriptors. Nothing here decides.

mod answer;
mod approvals;
mod client;
mod protocol;
pub(crate) mod rights;
mod server;
#[cfg(test)]
mod tests;

pub(crate) use answer::{Answer, Attachment, Failure, Handed, Lines, Served};
pub(crate) use approvals::{
    AgentEntry, ApprovalAnswer, ApprovalOrder, ApprovalShown, RequestShown,
};
pub(crate) use client::{Client, Replies, connect_or_start};
pub(crate) use protocol::{
    AskedCall, Attach, Attached, BudgetEntry, ConnectStep, ConnectionEntry, ConnectionQuery,
    Device, DisconnectOrder, Enrolling, Exported, GrantAnswer, GrantOrder, Hold, PastCall, PastEnd,
    PolicyShown, PolicyTexts, ReceiptFilter, Request, SecretEntry, SelfTest, SignerEntry, Signing,
    SigningFormat, Status, Summary, TokenMade, TokenOrder, Upgraded,
};
pub(crate) use server::{Answering, bind, hold, serve};
