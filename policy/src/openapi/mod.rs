//! OpenAPI 3.0 and 3.1 as tool files: what `exeat tool import` does.
//!
//! Every operation becomes one tool with its schemas; a file per tag. Nothing is fetched, nothing is guessed that would
//! widen access, and whatever is changed or left out is a [`Note`]. The order is: `document.rs` reads, `operation.rs`
//! finds and names the operations, `input.rs`, `body.rs` and `schema.rs` convert, `write.rs` writes.

mod body;
mod document;
mod group;
mod input;
mod keyword;
mod name;
mod note;
mod null;
mod operation;
mod schema;
mod server;
mod template;
mod write;

use std::collections::BTreeMap;

use exeat_types::{CredentialId, Report, Source, ToolName};
use serde_json::{Map, Value, json};

pub use self::note::{Note, grouped};
use self::{
    body::Body,
    document::Document,
    input::Input,
    note::Findings,
    operation::Operation,
    schema::Schemas,
    write::{Toml, key_text},
};

const WHY_SECURITY: &str =
    "how the API is authenticated to is said by the credential, in exeat.toml";
const WHY_ORIGIN: &str = "this operation lives at another origin than the API, so it got a file of its own; \
                          a credential has to be named there, one that is bound to that origin";

/// What an import is told besides the text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// What the API is called; by default the name of its host.
    pub api_name: Option<String>,
    /// Where the API lives, if not at the first server of the description.
    pub origin: Option<String>,
    /// The credential that calls are sent with.
    pub credential: Option<String>,
    /// Refuse body members and parameters that the description does not name, even where it would let them be.
    pub strict: bool,
    /// Path parameters whose value may hold slashes, written as `%2F`.
    pub encoded_slash: Vec<String>,
}

/// Tool files made of a description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Name and text of each file.
    pub files: Vec<(String, String)>,
    /// How many operations the description has.
    pub operations: usize,
    /// How many tools were made of them.
    pub tools: usize,
    /// What was changed or left out.
    pub notes: Vec<Note>,
}

/// Makes tool files of an OpenAPI description.
///
/// # Errors
/// When the text is not JSON, not OpenAPI 3.0 or 3.1, or inconsistent: every problem, with its place.
pub fn import(source: &Source, options: &Options) -> Result<Imported, Report> {
    check_options(options)?;
    let document = Document::read(source)?;
    let mut findings = Findings::new();
    let Some(api) = Api::read(&document, options, &mut findings) else {
        return Err(findings.finish(source).err().unwrap_or_default());
    };
    let (operations, count) = operation::read(&document, &api.server, options, &mut findings);
    let tools = operations.len();
    for name in &options.encoded_slash {
        if !operations.iter().any(|operation| operation.takes(name)) {
            findings.problem("/paths", format!("no path has a parameter `{name}`"));
        }
    }
    let mut by_file: BTreeMap<String, Vec<Operation<'_>>> = BTreeMap::new();
    for operation in operations {
        by_file
            .entry(api.file_name(&operation))
            .or_default()
            .push(operation);
    }
    let write = |(name, operations): (String, Vec<Operation<'_>>)| {
        (
            name,
            write_file(&api, &document, &operations, &mut findings),
        )
    };
    let files = by_file.into_iter().map(write).collect();
    let notes = findings.finish(source)?;
    Ok(Imported {
        files,
        operations: count,
        tools,
        notes,
    })
}

fn check_options(options: &Options) -> Result<(), Report> {
    let mut report = Report::new();
    if let Some(name) = &options.api_name {
        let parsed = ToolName::new(name);
        if parsed.is_err() || name.contains('.') || name.len() > 40 {
            let rule = "expected up to 40 letters, digits, `-` and `_`";
            report.general(format!("`{name}` is no name for an API: {rule}"));
        }
    }
    if let Some(Err(problem)) = options.credential.as_deref().map(CredentialId::new) {
        report.general(problem.to_string());
    }
    if report.is_empty() {
        Ok(())
    } else {
        Err(report)
    }
}

/// What all files of one import share.
struct Api<'o> {
    name: String,
    title: String,
    server: server::Server,
    options: &'o Options,
}

impl<'o> Api<'o> {
    fn read(document: &Document, options: &'o Options, findings: &mut Findings) -> Option<Self> {
        let said = |key: &str| document.at(key).and_then(Value::as_str).unwrap_or_default();
        let title = format!("{} {}", said("/info/title"), said("/info/version"));
        if document.at("/components/securitySchemes").is_some() && options.credential.is_none() {
            findings.note("securitySchemes", WHY_SECURITY);
        }
        let server = server::read(
            document.root.get("servers"),
            "/servers",
            options.origin.as_deref(),
            findings,
        )?;
        let name = options.api_name.clone();
        let name = name.unwrap_or_else(|| name::api_name(&server.origin, said("/info/title")));
        Some(Self {
            name,
            title,
            server,
            options,
        })
    }

    fn file_name(&self, operation: &Operation<'_>) -> String {
        let mut words = vec![self.name.clone(), name::slug(operation.tag)];
        if operation.server.origin != self.server.origin {
            words.push(name::slug(&operation.server.origin.host_port()));
        }
        words.retain(|word| !word.is_empty());
        format!("{}.toml", words.join("-"))
    }
}

fn write_file(
    api: &Api<'_>,
    document: &Document,
    operations: &[Operation<'_>],
    findings: &mut Findings,
) -> String {
    let mut toml = Toml::default();
    let mut schemas = Schemas::new(document);
    let Some(first) = operations.first() else {
        return String::new();
    };
    let origin = &first.server.origin;
    toml.comment(&format!(
        "{}: made by `exeat tool import`, free to edit.",
        api.title
    ));
    toml.heading("[api]");
    toml.entry("name", &json!(api.name));
    toml.entry("origin", &json!(origin.to_string()));
    if let Some(credential) = api
        .options
        .credential
        .as_ref()
        .filter(|_| *origin == api.server.origin)
    {
        toml.entry("credential", &json!(credential));
    }
    if api.options.strict {
        toml.entry("strict", &json!(true));
    }
    let read = |operation: &Operation<'_>| {
        findings.operation.clone_from(&operation.tool);
        if *origin != api.server.origin {
            findings.note(format!("origin `{origin}`"), WHY_ORIGIN);
        }
        operation.input(document, &mut schemas, findings)
    };
    let inputs: Vec<Input> = operations.iter().map(read).collect();
    let definitions = schemas.definitions(findings);
    let known = json!({ "definitions": definitions });
    for (operation, mut input) in operations.iter().zip(inputs) {
        findings.operation.clone_from(&operation.tool);
        input.settle(&known, findings);
        write_tool(&mut toml, operation, &api.options.encoded_slash, input);
    }
    for (name, schema) in definitions {
        toml.schema(&format!("api.definitions.{}", key_text(&name)), &schema);
    }
    toml.into_text()
}

fn write_tool(toml: &mut Toml, operation: &Operation<'_>, encoded_slash: &[String], input: Input) {
    toml.heading("[[tool]]");
    toml.entry("name", &json!(operation.tool));
    toml.entry(
        "request",
        &json!(format!(
            "{} {}",
            operation.method.to_ascii_uppercase(),
            operation.path
        )),
    );
    toml.entry("category", &json!(operation.category()));
    toml.entry("description", &json!(operation.description()));
    let slashed: Vec<&String> = encoded_slash
        .iter()
        .filter(|name| operation.takes(name))
        .collect();
    if !slashed.is_empty() {
        toml.entry("encoded-slash", &json!(slashed));
    }
    for (place, group) in [
        ("path", input.path),
        ("query", input.query),
        ("header", input.header),
    ] {
        if !group.properties.is_empty() || !group.patterns.is_empty() {
            toml.schema(&format!("tool.input.{place}"), &group.into_schema());
        }
    }
    if let Body::Present { media, schema } = input.body {
        let mut table = Map::new();
        if let Some(media) = media {
            table.insert("media".to_owned(), json!(media));
        }
        table.extend(schema);
        toml.schema("tool.input.body", &table);
    }
}
