//! The operator's side of the gate over HTTP: an admin API, and web pages that are drawn on the server.
//!
//! INVARIANT: nothing here decides about a call; an answer goes to the pipeline, which checks it. No page and no answer holds
//! a secret. Only a GET is free of consequences, and no GET has any.

mod api;
mod assets;
mod export;
mod guard;
mod guest;
mod icon;
mod layout;
mod notify;
mod operator;
mod origin;
mod pages;
mod problem;
mod server;
mod session;
mod sign_in;
mod site;
pub mod visible;

pub use api::openapi;
pub use notify::{
    Carrier, Channel, Letter, News, Notice, Notifier, SecretIn, Subscription, Undelivered, Unusable,
};
pub use operator::{
    AgentDeclared, Check, CheckState, ConnectionShown, CredentialShown, Failed, Forget, Health,
    ListenerShown, Operator, Visit,
};
pub use origin::PublicOrigin;
pub use server::{Parts, serve};
pub use sign_in::{CODE_LIFE, Codes, Issued, user_name};
