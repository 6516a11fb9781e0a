//! The operations of a description: found, named, and given a request line that no other has.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{
    Options, body,
    document::{Document, kind, token},
    input::{Input, Parameter, holds_slashes, parameters},
    name,
    note::Findings,
    schema::Schemas,
    server::{self, Server},
    template::{self, Routes, Template},
};

const METHODS: [&str; 8] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace",
];

const WHY_TRACE: &str = "TRACE sends a request's credentials back, so it is never passed on; the operation was left out";
const WHY_NAMELESS: &str =
    "the operation has no usable `operationId`, so its name was made of method and path";
const WHY_RENAMED: &str = "another operation has this name already, so it got a number";
const WHY_SAME_REQUEST: &str = "one request belongs to one tool, and another tool takes the same requests; the operation was left out";
const WHY_MERGED: &str = "a router takes one parameter from a segment, so these became one";
const WHY_SLASHES: &str = "published as a parameter that may hold slashes, which only the end of a path can take; \
                           a value with a slash is not matched";
const WHY_GET_BODY: &str =
    "OpenAPI 3.0 gives the body of such a request no meaning, so the tool takes none";

/// One operation on its way to become a tool.
pub(super) struct Operation<'d> {
    /// The tool's name inside its API.
    pub(super) tool: String,
    /// The method, in lower case.
    pub(super) method: &'static str,
    /// The path as it stands in the request line.
    pub(super) path: String,
    /// The first tag, or nothing.
    pub(super) tag: &'d str,
    /// Where it lives.
    pub(super) server: Server,
    value: &'d Map<String, Value>,
    at: String,
    published: &'d str,
    template: Template,
    parameters: Vec<Parameter<'d>>,
}

/// Finds every operation; counts also those that were left out.
pub(super) fn read<'d>(
    document: &'d Document,
    server: &Server,
    options: &Options,
    findings: &mut Findings,
) -> (Vec<Operation<'d>>, usize) {
    let mut found = Vec::new();
    let mut count = 0_usize;
    let mut taken = BTreeSet::new();
    let Some(paths) = document.root.get("paths").and_then(Value::as_object) else {
        findings.problem(
            "/paths",
            "missing key `paths`: the description has no operations",
        );
        return (found, count);
    };
    for (path, item) in paths.iter().filter(|(path, _)| !path.starts_with("x-")) {
        let at = format!("/paths/{}", token(path));
        let Some((item, at)) = path_item(document, path, item, &at, findings) else {
            continue;
        };
        for method in METHODS {
            let Some(value) = item.get(method) else {
                continue;
            };
            count = count.saturating_add(1);
            let site = Site {
                document,
                server,
                options,
                path,
                item,
                at: &at,
                method,
            };
            found.extend(site.operation(value, &mut taken, findings));
        }
    }
    (claim_routes(found, findings), count)
}

fn path_item<'d>(
    document: &'d Document,
    path: &str,
    item: &'d Value,
    at: &str,
    findings: &mut Findings,
) -> Option<(&'d Map<String, Value>, String)> {
    if !path.starts_with('/') {
        findings.problem(
            at,
            format!("expected a path that begins with `/`, got `{path}`"),
        );
        return None;
    }
    match document.resolve(item, at) {
        Ok((Value::Object(item), at)) => Some((item, at)),
        Ok((other, at)) => {
            findings.problem(
                &at,
                format!("expected operations by method, got {}", kind(other)),
            );
            None
        }
        Err(problem) => {
            findings.problem(at, problem);
            None
        }
    }
}

/// Where an operation stands.
struct Site<'d, 's> {
    document: &'d Document,
    server: &'s Server,
    options: &'s Options,
    path: &'d str,
    item: &'d Map<String, Value>,
    at: &'s str,
    method: &'static str,
}

impl<'d> Site<'d, '_> {
    fn operation(
        &self,
        value: &'d Value,
        taken: &mut BTreeSet<String>,
        findings: &mut Findings,
    ) -> Option<Operation<'d>> {
        let at = format!("{}/{}", self.at, self.method);
        let request = format!("{} {}", self.method.to_ascii_uppercase(), self.path);
        findings.operation.clone_from(&request);
        let Some(value) = value.as_object() else {
            findings.problem(&at, format!("expected an operation, got {}", kind(value)));
            return None;
        };
        if self.method == "trace" {
            findings.note(request, WHY_TRACE);
            return None;
        }
        let tool = self.tool_name(value, taken, findings);
        findings.operation.clone_from(&tool);
        let lists = [
            (
                self.item.get("parameters"),
                format!("{}/parameters", self.at),
            ),
            (value.get("parameters"), format!("{at}/parameters")),
        ];
        let parameters = parameters(self.document, lists, findings);
        let server = self.own_server(value, &at, findings)?;
        let is_wild = |name: &str| {
            parameters
                .iter()
                .any(|p| p.name == name && holds_slashes(p))
        };
        let template = match template::parse(&format!("{}{}", server.prefix, self.path), is_wild) {
            Ok(template) => template,
            Err(why) => {
                findings.note(request, why);
                return None;
            }
        };
        let tag = value
            .get("tags")
            .and_then(|tags| tags.get(0))
            .and_then(Value::as_str)
            .unwrap_or_default();
        let path = template.text.clone();
        let (method, published) = (self.method, self.path);
        Some(Operation {
            tool,
            method,
            path,
            tag,
            server,
            value,
            at,
            published,
            template,
            parameters,
        })
    }

    fn tool_name(
        &self,
        value: &Map<String, Value>,
        taken: &mut BTreeSet<String>,
        findings: &mut Findings,
    ) -> String {
        let id = value.get("operationId").and_then(Value::as_str);
        let wanted = id.and_then(name::tool_name).unwrap_or_else(|| {
            findings.note(id.unwrap_or("no `operationId`"), WHY_NAMELESS);
            name::name_from_request(self.method, self.path)
        });
        let tool = name::unique(&wanted, taken);
        if tool != wanted {
            findings.note(format!("`{wanted}` became `{tool}`"), WHY_RENAMED);
        }
        tool
    }

    /// The operation's own servers, else those of its path, else those of the description.
    fn own_server(
        &self,
        value: &Map<String, Value>,
        at: &str,
        findings: &mut Findings,
    ) -> Option<Server> {
        let lists = [
            (value.get("servers"), at),
            (self.item.get("servers"), self.at),
        ];
        let Some((servers, at)) = lists.into_iter().find(|(servers, _)| servers.is_some()) else {
            return Some(self.server.clone());
        };
        let first = servers
            .and_then(|list| list.get(0))
            .and_then(|server| server.get("url"));
        let is_absolute = first
            .and_then(Value::as_str)
            .is_some_and(|url| url.contains("://"));
        let main = self.server.origin.to_string();
        let origin = if is_absolute {
            None
        } else {
            self.options.origin.as_deref().or(Some(&main))
        };
        server::read(servers, &format!("{at}/servers"), origin, findings)
    }
}

/// Gives each operation the widest request line that no other operation has, the plainest first.
fn claim_routes<'d>(operations: Vec<Operation<'d>>, findings: &mut Findings) -> Vec<Operation<'d>> {
    let mut routes = Routes::default();
    let rank = |operation: &Operation<'_>| {
        let template = &operation.template;
        if template.merged.is_empty() {
            u8::from(template.wild.is_some())
        } else {
            2
        }
    };
    let mut ranked: Vec<(usize, Operation<'d>)> = operations.into_iter().enumerate().collect();
    ranked.sort_by_key(|(index, operation)| (rank(operation), *index));
    let mut kept = BTreeMap::new();
    for (index, mut operation) in ranked {
        findings.operation.clone_from(&operation.tool);
        let place = format!("{} {}", operation.method, operation.server.origin);
        let wild = operation.template.wild.take();
        if let Some(wild) = wild.filter(|wild| routes.claim(&place, wild, &operation.tool).is_ok())
        {
            operation.path = wild;
        } else if let Err(other) = routes.claim(&place, &operation.path, &operation.tool) {
            findings.note(format!("same requests as `{other}`"), WHY_SAME_REQUEST);
            continue;
        }
        kept.insert(index, operation);
    }
    kept.into_values().collect()
}

impl Operation<'_> {
    /// What calling it does, as the method says.
    pub(super) fn category(&self) -> &'static str {
        match self.method {
            "get" | "head" | "options" => "read",
            "delete" => "delete",
            _ => "write",
        }
    }

    /// Whether its path has a parameter of this name.
    pub(super) fn takes(&self, name: &str) -> bool {
        [format!("{{{name}}}"), format!("{{*{name}}}")]
            .iter()
            .any(|parameter| self.path.contains(parameter))
    }

    /// One line for people and agents.
    pub(super) fn description(&self) -> String {
        let said = |key: &str| {
            self.value
                .get(key)
                .and_then(Value::as_str)
                .map(str::trim)
                .filter(|t| !t.is_empty())
        };
        let text =
            said("summary").or_else(|| said("description").and_then(|text| text.lines().next()));
        let mut line: String = text
            .unwrap_or(&self.tool)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        if line.chars().count() > 200 {
            line = line.chars().take(197).chain("...".chars()).collect();
        }
        if self.value.get("deprecated") == Some(&Value::Bool(true)) {
            line.push_str(" (deprecated)");
        }
        line
    }

    /// Everything it takes, converted.
    pub(super) fn input(
        &self,
        document: &Document,
        schemas: &mut Schemas<'_>,
        findings: &mut Findings,
    ) -> Input {
        let mut input = Input::default();
        let named: BTreeSet<String> = template::names(self.published).into_iter().collect();
        input.add_parameters(&self.parameters, &named, schemas, findings);
        for merged in &self.template.merged {
            findings.note(
                format!("path parameters `{}`", merged.parts.join("`, `")),
                WHY_MERGED,
            );
            for part in &merged.parts {
                input.path.properties.shift_remove(part);
            }
            let schema = json!({ "type": "string", "pattern": merged.pattern });
            input.path.properties.insert(merged.name.clone(), schema);
        }
        for parameter in self
            .parameters
            .iter()
            .filter(|parameter| holds_slashes(parameter))
        {
            if !self.path.ends_with(&format!("{{*{}}}", parameter.name)) {
                findings.note(format!("path parameter `{}`", parameter.name), WHY_SLASHES);
            }
        }
        let at = format!("{}/requestBody", self.at);
        if let Some(body) = self.value.get("requestBody") {
            if !body::has_meaning(document.version, self.method) {
                findings.note("requestBody", WHY_GET_BODY);
                return input;
            }
            match document.resolve(body, &at) {
                Ok((body, at)) => input.body = body::read(body, &at, schemas, findings),
                Err(problem) => findings.problem(&at, problem),
            }
        }
        input
    }
}
