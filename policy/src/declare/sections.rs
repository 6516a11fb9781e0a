//! `[tool.input]`: the sections as written, or the flat form sorted into sections, each as one JSON Schema.

use exeat_types::{
    Report,
    config::{Item, Table},
    did_you_mean,
};
use http::Method;
use serde_json::{Map, Value, json};

use super::input::Context;

/// What a body is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    None,
    Json,
    Form,
    JsonOrForm,
    Multipart,
    Binary,
}

/// The schemas of all sections, and where each of them stands in the file.
pub(super) struct Sections<'a> {
    pub(super) schemas: Map<String, Value>,
    pub(super) media: Media,
    pub(super) strict: bool,
    sources: Vec<(&'static str, Item<'a>)>,
    flat: Option<Item<'a>>,
}

impl<'a> Sections<'a> {
    /// Reads the table, if there is one, and declares path parameters that are not mentioned in it as strings.
    pub(super) fn read(
        item: Option<Item<'a>>,
        tool: &Context<'_, 'a>,
        report: &mut Report,
    ) -> Self {
        let mut sections = Self {
            schemas: Map::new(),
            media: Media::None,
            strict: tool.api.strict,
            sources: Vec::new(),
            flat: None,
        };
        if let Some(table) = item.and_then(|item| item.table(report)) {
            sections.read_table(&table, tool, report);
        }
        sections.complete_path(tool, report);
        sections
    }

    fn read_table(&mut self, table: &Table<'a>, tool: &Context<'_, 'a>, report: &mut Report) {
        if let Some(strict) = table.get("strict").and_then(|item| item.flag(report)) {
            self.strict = strict;
        }
        let required = table.get("required");
        let flat = table.get("properties");
        for section in ["path", "query", "header"] {
            let Some(item) = table.get(section) else {
                continue;
            };
            self.sources.push((section, item));
            if let Some(schema) = object_schema(item, report) {
                self.schemas.insert(section.to_owned(), schema);
            }
        }
        if let Some(item) = table.get("body") {
            self.sources.push(("body", item));
            self.read_body(item, report);
        }
        table.finish(report);
        match (flat, required) {
            (Some(flat), required) => self.read_flat(flat, required, tool, report),
            (None, Some(required)) => {
                let problem = required.problem(
                    report,
                    "`required` belongs to `properties` or into a section",
                );
                problem.help("write it below `[tool.input.query]` or `[tool.input.body]`");
            }
            (None, None) => {}
        }
    }

    fn read_body(&mut self, item: Item<'a>, report: &mut Report) {
        let media = item.table(report).and_then(|table| {
            let item = table.get("media")?;
            Some((item, item.word(report, &MEDIA)?))
        });
        let Some(Value::Object(mut schema)) = item.json(report) else {
            return;
        };
        schema.remove("media");
        match media {
            Some((item, Media::Multipart | Media::Binary)) if !schema.is_empty() => {
                let problem = item.problem(
                    report,
                    "a body of this kind is not looked into, so it has no schema",
                );
                problem.help("leave out every key but `media`");
            }
            Some((_, media @ (Media::Multipart | Media::Binary))) => self.media = media,
            other => {
                self.media = other.map_or(Media::Json, |(_, media)| media);
                self.schemas
                    .insert("body".to_owned(), Value::Object(schema));
            }
        }
    }

    /// The flat form: each name goes where the method and the template put it.
    fn read_flat(
        &mut self,
        flat: Item<'a>,
        required: Option<Item<'a>>,
        tool: &Context<'_, 'a>,
        report: &mut Report,
    ) {
        if let Some((section, item)) = self
            .sources
            .iter()
            .find(|(section, _)| *section != "header")
        {
            let problem = item.problem(
                report,
                format!("`{section}` and `properties` stand side by side"),
            );
            problem.help(
                "write either the flat `properties`, or the sections `path`, `query` and `body`",
            );
            return;
        }
        self.flat = Some(flat);
        let Some(Value::Object(properties)) = flat.json(report) else {
            return;
        };
        let mut needed: Vec<Value> = Vec::new();
        for item in required.map(|item| item.items(report)).unwrap_or_default() {
            let Some(name) = item.text(report) else {
                continue;
            };
            if properties.contains_key(name) {
                needed.push(name.into());
            } else {
                let problem = item.problem(report, format!("`{name}` is not among the properties"));
                let near = did_you_mean(name, properties.keys().map(String::as_str));
                near.map(|near| problem.help(format!("did you mean `{near}`?")));
            }
        }
        let bodiless = [Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS]
            .contains(&tool.line.method);
        let (in_path, rest): (Map<_, _>, Map<_, _>) = properties
            .into_iter()
            .partition(|(name, _)| tool.line.params.contains(name));
        let rest_needed: Vec<Value> = needed
            .into_iter()
            .filter(|name| name.as_str().is_some_and(|name| rest.contains_key(name)))
            .collect();
        self.schemas.insert(
            "path".to_owned(),
            json!({"type": "object", "properties": in_path}),
        );
        if !rest.is_empty() {
            let section = if bodiless { "query" } else { "body" };
            self.media = if bodiless { Media::None } else { Media::Json };
            let schema = json!({"type": "object", "properties": rest, "required": rest_needed});
            self.schemas.insert(section.to_owned(), schema);
        }
    }

    /// Every parameter of the template is declared and needed; nothing else can stand in the path.
    fn complete_path(&mut self, tool: &Context<'_, 'a>, report: &mut Report) {
        if tool.line.params.is_empty() && !self.schemas.contains_key("path") {
            return;
        }
        let params = &tool.line.params;
        let schema = self.schemas.remove("path");
        let mut properties = match schema.as_ref().and_then(|schema| schema.get("properties")) {
            Some(Value::Object(properties)) => properties.clone(),
            _ => Map::new(),
        };
        for name in properties.keys().filter(|name| !params.contains(name)) {
            let pointer = ["properties", "path", "properties", name].map(str::to_owned);
            let near = did_you_mean(name, params.iter().map(String::as_str));
            let message = format!("the path has no parameter `{name}`");
            let problem = match self.locate(&pointer, tool) {
                Some(item) => item.problem(report, message),
                None => report.general(message),
            };
            near.map(|near| problem.help(format!("did you mean `{near}`?")));
        }
        for name in params {
            properties
                .entry(name.clone())
                .or_insert_with(|| json!({"type": "string"}));
        }
        let mut members = match schema {
            Some(Value::Object(members)) => members,
            _ => Map::new(),
        };
        members.insert("type".to_owned(), "object".into());
        members.insert("properties".to_owned(), Value::Object(properties));
        members.insert(
            "required".to_owned(),
            params.iter().cloned().map(Value::String).collect(),
        );
        self.schemas
            .insert("path".to_owned(), Value::Object(members));
    }

    /// Where a place of the joined schema stands in the file; the nearest item around it, if it is not written there.
    pub(super) fn locate(&self, pointer: &[String], tool: &Context<'_, 'a>) -> Option<Item<'a>> {
        let (first, rest) = pointer.split_first()?;
        if first == "definitions" || first == "$defs" {
            return tool.api.definitions_item.map(|item| descend(item, rest));
        }
        let (section, rest) = rest.split_first()?;
        if let Some((_, item)) = self.sources.iter().find(|(name, _)| name == section) {
            return Some(descend(*item, rest));
        }
        self.flat
            .map(|item| descend(item, rest.get(1..).unwrap_or_default()))
    }
}

const MEDIA: [(&str, Media); 5] = [
    ("json", Media::Json),
    ("form", Media::Form),
    ("json-or-form", Media::JsonOrForm),
    ("multipart", Media::Multipart),
    ("binary", Media::Binary),
];

/// The schema of a section that is made of named parameters.
fn object_schema(item: Item<'_>, report: &mut Report) -> Option<Value> {
    let Value::Object(mut schema) = item.json(report)? else {
        item.problem(report, "expected a table with `properties`");
        return None;
    };
    if schema.get("type").is_some_and(|value| value != "object")
        || !schema.get("properties").is_some_and(Value::is_object)
    {
        let problem = item.problem(
            report,
            "this section needs `properties`, one for each parameter",
        );
        problem.help("such as `properties = { page = { type = \"integer\" } }`");
        return None;
    }
    schema.insert("type".to_owned(), "object".into());
    Some(Value::Object(schema))
}

fn descend<'a>(item: Item<'a>, keys: &[String]) -> Item<'a> {
    let mut unused = Report::new();
    let mut current = item;
    for key in keys {
        let next = if current.is_table() {
            let entries = current
                .table(&mut unused)
                .map(|table| table.entries())
                .unwrap_or_default();
            entries
                .into_iter()
                .find(|(name, ..)| name == key)
                .map(|(_, _, item)| item)
        } else {
            let items = current.items(&mut unused);
            key.parse::<usize>()
                .ok()
                .and_then(|index| items.into_iter().nth(index))
        };
        let Some(next) = next else { break };
        current = next;
    }
    current
}
