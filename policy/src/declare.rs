//! Reading `tools/*.toml`: from text to checked [`Tool`]s, every problem reported at its place.
//!
//! Nothing here looks outside the one file, so that a file that did not change is not read twice.

mod input;
mod inside;
mod local;
mod mints;
pub(crate) mod order;
mod request_line;
mod response;
mod sections;

use std::{ops::Range, sync::Arc};

use exeat_types::{
    CredentialId, Host, Origin, Report, Scheme, Source, ToolName,
    config::{Document, Item, Table},
    limits,
};
use serde_json::{Map, Value, json};

use crate::{BodyNeed, Cost, Local, Protocol, Record, Slot, Tool, tool::BodyRule};
use order::Order;
use request_line::RequestLine;

/// A tool and where it was declared.
#[derive(Clone)]
pub(crate) struct Declared {
    pub(crate) tool: Arc<Tool>,
    pub(crate) source: Source,
    pub(crate) name_at: Range<usize>,
    pub(crate) request_at: Range<usize>,
    pub(crate) credentials_at: Vec<(CredentialId, Range<usize>)>,
}

/// What `[api]` says for every tool of a file.
struct Api<'a> {
    name: String,
    origin: Origin,
    order: Option<Order>,
    slots: Vec<Slot>,
    ranges: bool,
    strict: bool,
    definitions: Map<String, Value>,
    /// The definitions under both names that a reference can use.
    scope: Value,
    definitions_item: Option<Item<'a>>,
}

/// Reads one file. What is wrong goes to the report, and the tool is left out.
pub(crate) fn read(source: &Source, report: &mut Report) -> Vec<Declared> {
    let document = Document::parse(source, report);
    let root = document.root();
    let api_table = root.need("api", report).and_then(|item| item.table(report));
    let tools = root
        .get("tool")
        .map(|item| item.items(report))
        .unwrap_or_default();
    root.finish(report);
    let Some(api_table) = api_table else {
        return Vec::new();
    };
    let api = read_api(&api_table, report);
    tools
        .into_iter()
        .filter_map(|item| read_tool(item, &api, report))
        .collect()
}

fn read_api<'a>(table: &Table<'a>, report: &mut Report) -> Api<'a> {
    let name = table.need("name", report);
    let name = name.and_then(|item| {
        let text = item.text(report)?;
        match ToolName::new(text) {
            Ok(name) => Some(name.to_string()),
            Err(problem) => {
                item.problem(report, problem.to_string());
                None
            }
        }
    });
    let origin = table
        .need("origin", report)
        .and_then(|item| item.parse::<Origin>(report));
    // A file without an origin is refused as a whole; this one stands in while the rest is checked.
    let nowhere = || Origin {
        scheme: Scheme::Https,
        host: Host::Name("nowhere.invalid".into()),
        port: 443,
    };
    let definitions_item = table.get("definitions");
    let definitions = match definitions_item.and_then(|item| item.json(report)) {
        Some(Value::Object(members)) => members,
        Some(_) => {
            definitions_item.map(|item| {
                item.problem(report, "expected a table of schemas")
                    .help(DEFINITIONS)
            });
            Map::new()
        }
        None => Map::new(),
    };
    let api = Api {
        name: name.unwrap_or_else(|| "api".to_owned()),
        origin: origin.unwrap_or_else(nowhere),
        order: order::order(table, report),
        slots: slots(table, report),
        ranges: table
            .get("ranges")
            .and_then(|item| item.flag(report))
            .unwrap_or(false),
        strict: table
            .get("strict")
            .and_then(|item| item.flag(report))
            .unwrap_or(false),
        scope: json!({"definitions": definitions, "$defs": definitions}),
        definitions,
        definitions_item,
    };
    table.finish(report);
    api
}

const DEFINITIONS: &str =
    "write `[api.definitions.<name>]`, and `$ref = \"#/definitions/<name>\"` where it is used";

fn read_tool(item: Item<'_>, api: &Api<'_>, report: &mut Report) -> Option<Declared> {
    let table = item.table(report)?;
    let name_item = table.need("name", report);
    let name = name_item.and_then(|item| tool_name(item, api, report));
    let request_item = table.need("request", report);
    let line = request_item.and_then(|item| RequestLine::read(item, report));
    let category = table
        .need("category", report)
        .and_then(|item| item.parse(report));
    let description = description(&table, report);
    let order = order::order(&table, report).or_else(|| api.order.clone());
    let order = order.unwrap_or_default();
    let mut slots = slots(&table, report);
    slots.extend(api.slots.iter().cloned());
    let ranges = table.get("ranges").and_then(|item| item.flag(report));
    let record = record(&table, report);
    let protocol = protocol(&table, report);
    let body_max = table.get("body-max").and_then(|item| size(item, report));
    let encoded_slash = encoded_slash(&table, line.as_ref(), report);
    let response = response::response(&table, report);
    let input_item = table.get("input");
    let graphql = inside::selection(&table, protocol, report);
    let llm = inside::llm(&table, report);
    let local = local::local(&table, line.as_ref(), report);
    let cost = Cost::read(&table, report);
    let input = line.as_ref().and_then(|line| {
        let tool = input::Context {
            api,
            line,
            protocol,
            local: local.as_ref(),
            llm: llm.as_ref(),
            slots: &slots,
            at: table.span(),
        };
        input::read(&tool, input_item, table.source(), report)
    });
    table.finish(report);
    let (name, line, input) = (name?, line?, input?);
    let tool = Tool {
        name,
        category: category?,
        description,
        method: line.method.clone(),
        origin: api.origin.clone(),
        template: line.template.clone(),
        encoded_slash,
        credential: order.first,
        otherwise: order.otherwise,
        slots,
        response,
        ranges: ranges.unwrap_or(api.ranges),
        body_need: body_need(&input.body, body_max, local.as_ref()),
        record,
        protocol,
        llm,
        graphql,
        local,
        cost,
        input,
    };
    local::check(&tool, &table, report);
    Cost::check(&tool, &table, report);
    inside::check(&tool, &line, &table, report);
    Some(Declared {
        tool: Arc::new(tool),
        source: table.source().clone(),
        name_at: name_item?.span(),
        request_at: request_item?.span(),
        credentials_at: order.written,
    })
}

const RECORDS: [(&str, Record); 2] = [("arguments", Record::Arguments), ("digest", Record::Digest)];
const PROTOCOLS: [(&str, Protocol); 2] = [("git", Protocol::Git), ("graphql", Protocol::GraphQl)];

fn description(table: &Table<'_>, report: &mut Report) -> String {
    let text = table.get("description").and_then(|item| item.text(report));
    text.unwrap_or_default().to_owned()
}

fn record(table: &Table<'_>, report: &mut Report) -> Record {
    let item = table.get("record");
    let record = item.and_then(|item| item.word(report, &RECORDS));
    record.unwrap_or(Record::Arguments)
}

fn protocol(table: &Table<'_>, report: &mut Report) -> Protocol {
    let item = table.get("protocol");
    let protocol = item.and_then(|item| item.word(report, &PROTOCOLS));
    protocol.unwrap_or(Protocol::Http)
}

fn tool_name(item: Item<'_>, api: &Api<'_>, report: &mut Report) -> Option<ToolName> {
    match ToolName::new(&format!("{}.{}", api.name, item.text(report)?)) {
        Ok(name) => Some(name),
        Err(problem) => {
            item.problem(report, problem.to_string());
            None
        }
    }
}

/// The path parameters that may hold slashes as `%2F`.
fn encoded_slash(
    table: &Table<'_>,
    line: Option<&RequestLine>,
    report: &mut Report,
) -> Vec<String> {
    let Some(item) = table.get("encoded-slash") else {
        return Vec::new();
    };
    let mut names = Vec::new();
    for item in item.items(report) {
        let Some(name) = item.text(report) else {
            continue;
        };
        if line.is_some_and(|line| !line.params.iter().any(|known| known == name)) {
            let problem = item.problem(report, format!("`{name}` is no parameter of the path"));
            problem.help("name a parameter that stands in `request`");
        }
        names.push(name.to_owned());
    }
    names
}

fn slots(table: &Table<'_>, report: &mut Report) -> Vec<Slot> {
    let Some(item) = table.get("slots") else {
        return Vec::new();
    };
    item.items(report)
        .into_iter()
        .filter_map(|slot| slot.parse(report))
        .collect()
}

/// A size: a number of bytes, or text such as `64 KiB`.
fn size(item: Item<'_>, report: &mut Report) -> Option<usize> {
    let text = item.text(report)?;
    let (digits, unit) = text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    );
    let scale = match unit.trim() {
        "B" => Some(1_usize),
        "KiB" => Some(1024),
        "MiB" => Some(1024 * 1024),
        _ => None,
    };
    let bytes = scale.and_then(|scale| digits.parse::<usize>().ok()?.checked_mul(scale));
    match bytes {
        Some(bytes) if (1..=limits::WHOLE_BODIES_BYTES_MAX).contains(&bytes) => Some(bytes),
        Some(_) => {
            item.problem(report, "expected a size between 1 B and 256 MiB");
            None
        }
        None => {
            item.problem(report, "expected a size such as `64 KiB` or `8 MiB`");
            None
        }
    }
}

fn body_need(body: &BodyRule, bytes_max: Option<usize>, local: Option<&Local>) -> BodyNeed {
    let whole = BodyNeed::Whole {
        bytes_max: bytes_max.unwrap_or(limits::WHOLE_BODY_BYTES_MAX),
    };
    match body {
        BodyRule::Json(_)
        | BodyRule::Form(..)
        | BodyRule::JsonOrForm(..)
        | BodyRule::GitPush
        | BodyRule::GitObject
        | BodyRule::GraphQl(_) => whole,
        // A program gets its input at once.
        BodyRule::Multipart | BodyRule::Binary if local.is_some() => whole,
        BodyRule::Absent | BodyRule::Multipart | BodyRule::Binary => BodyNeed::Streamed,
    }
}
