//! What a tool declares of the protocol inside its body: GraphQL, and requests to language models.

use exeat_types::{Report, config::Table};
use http::Method;

use super::request_line::RequestLine;
use crate::{
    Api, LlmRules, Protocol, ProviderTools, Tool,
    graphql::{Operation, Selection},
    tool::{BodyRule, Others, Presence},
};

/// `operation` and `fields`.
pub(super) fn selection(
    table: &Table<'_>,
    protocol: Protocol,
    report: &mut Report,
) -> Option<Selection> {
    let operation = table.get("operation");
    let fields = table.get("fields");
    if protocol != Protocol::GraphQl {
        for item in [operation, fields].into_iter().flatten() {
            item.problem(report, "only a tool with `protocol = \"graphql\"` has this");
        }
        return None;
    }
    let Some(operation) = operation else {
        let message = "a tool with `protocol = \"graphql\"` needs `operation`";
        report
            .at(table.source(), table.span(), message)
            .help("`operation` is \"query\", \"mutation\" or \"subscription\"");
        return None;
    };
    let operation = operation.word(report, &Operation::NAMED)?;
    let fields = fields.map(|item| {
        let items = item.items(report);
        if items.is_empty() {
            item.problem(report, "a tool without fields takes nothing");
        }
        let names = items.iter().filter_map(|item| {
            let name = item.text(report)?;
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if !name.chars().all(plain) || name.starts_with("__typename") {
                item.problem(report, format!("`{name}` is not the name of a field"));
            }
            Some(name.to_owned())
        });
        names.collect()
    });
    Some(Selection { operation, fields })
}

/// `[tool.llm]`.
pub(super) fn llm(table: &Table<'_>, report: &mut Report) -> Option<LlmRules> {
    let table = table.get("llm")?.table(report)?;
    let api = table.need("api", report);
    let api = api.and_then(|item| item.word(report, &Api::NAMED));
    let provider_tools = table
        .get("provider-tools")
        .and_then(|item| item.word(report, &ProviderTools::NAMED));
    let allow = table.get("allow").map(|item| item.items(report));
    let allow = allow.unwrap_or_default();
    let allow = allow.iter().filter_map(|item| item.text(report));
    let allow = allow.map(str::to_owned).collect();
    table.finish(report);
    Some(LlmRules {
        api: api?,
        provider_tools: provider_tools.unwrap_or_default(),
        allow,
    })
}

/// What has to hold of the rest of such a tool.
pub(super) fn check(tool: &Tool, line: &RequestLine, table: &Table<'_>, report: &mut Report) {
    let mut say = |message: &str, help: &str| {
        let problem = report.at(table.source(), table.span(), message);
        problem.help(help);
    };
    if tool.graphql.is_some() {
        if line.method != Method::POST || !line.params.is_empty() {
            say(
                "GraphQL is read on a POST to a path without parameters",
                "such as `request = \"POST /graphql\"`",
            );
        }
        let query = &tool.input.query;
        if !query.declared.is_empty() || query.others == Others::Strings {
            say(
                "a GraphQL tool takes no query parameters",
                "servers read documents from there too, and would run another one than was judged",
            );
        }
    }
    if tool.llm.is_some() && !matches!(tool.input.body, BodyRule::Json(Presence::Needed)) {
        say(
            "`[tool.llm]` needs a JSON body that requires something",
            "such as `[tool.input.body]` with `required = [\"model\"]`",
        );
    }
}
