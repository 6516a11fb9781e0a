//! The tools that stand for requests nobody declared, while an agent is observed.
//!
//! They are tools like any other to rules: what a rule forbids or asks about for every tool, or for a category, holds for
//! them too. No rule has to allow them. They have no arguments, so a rule that reads one denies them.

use std::sync::LazyLock;

use exeat_types::{Report, Source};
use http::Method;

use crate::{Category, cache::Tools};

/// The API name that no file may use.
pub(crate) const API: &str = "observed";

/// Their origin is no place: a call has its own.
const TEXT: &str = r#"
[api]
name = "observed"
origin = "https://observed.invalid"

[[tool]]
name = "read"
request = "GET /{*path}"
category = "read"
record = "digest"
description = "A request that no tool declares"
[tool.input.body]
media = "binary"

[[tool]]
name = "write"
request = "POST /{*path}"
category = "write"
record = "digest"
description = "A request that no tool declares"
[tool.input.body]
media = "binary"

[[tool]]
name = "delete"
request = "DELETE /{*path}"
category = "delete"
record = "digest"
description = "A request that no tool declares"
[tool.input.body]
media = "binary"
"#;

/// The tools themselves, compiled once.
pub(crate) static TOOLS: LazyLock<Tools> = LazyLock::new(|| {
    let mut report = Report::new();
    let tools = Tools::read_anew(&[Source::new("observed.toml", TEXT)], &mut report);
    debug_assert!(report.is_empty(), "{report}");
    tools
});

/// The name of the tool that a method stands for.
pub(crate) fn name_of(method: &Method) -> String {
    let category = match *method {
        Method::GET | Method::HEAD | Method::OPTIONS => "read",
        Method::DELETE => "delete",
        _ => "write",
    };
    debug_assert!(Category::KNOWN.contains(&category), "{category}");
    format!("{API}.{category}")
}
