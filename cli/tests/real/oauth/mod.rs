//! OAuth against `oidc-provider`, unmodified: every grant through a gate that runs, with a person where one is needed.

mod alone;
mod browser;
mod faults;
mod person;
mod world;
