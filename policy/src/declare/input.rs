//! From the sections of `[tool.input]` to an [`Input`] that requests are checked against.

use std::{collections::BTreeMap, ops::Range};

use exeat_types::{Report, Source, config::Item};
use http::{HeaderName, Method};
use jsonschema::{Draft, PatternOptions};
use serde_json::{Map, Value};

use super::{
    Api,
    request_line::RequestLine,
    sections::{Media, Sections},
};
use crate::{
    LlmRules, Local, Protocol, Slot,
    graphql::Detail,
    schema::{self, Types},
    tool::{BodyRule, Fields, Input, Others, Place, Presence},
    wire::{Field, List},
};

/// The rest of the tool, as far as its input depends on it.
pub(super) struct Context<'c, 'a> {
    pub(super) api: &'c Api<'a>,
    pub(super) line: &'c RequestLine,
    pub(super) protocol: Protocol,
    pub(super) local: Option<&'c Local>,
    pub(super) llm: Option<&'c LlmRules>,
    pub(super) slots: &'c [Slot],
    pub(super) at: Range<usize>,
}

/// Reads `[tool.input]`, which may be missing.
pub(super) fn read<'a>(
    tool: &Context<'_, 'a>,
    item: Option<Item<'a>>,
    source: &Source,
    report: &mut Report,
) -> Option<Input> {
    let before = report.problems().len();
    let mut sections = Sections::read(item, tool, report);
    if tool.protocol == Protocol::Git {
        check_git(tool, &sections, source, report);
    }
    if matches!(tool.local, Some(Local::Sign(_))) && sections.media != Media::None {
        let message = "what is signed is read as git; it has no schema of its own";
        report.at(source, tool.at.clone(), message);
    }
    if tool.protocol == Protocol::GraphQl && !matches!(sections.media, Media::None | Media::Json) {
        let message = "the schema of a GraphQL body is about the arguments of its field";
        report.at(source, tool.at.clone(), message);
    }
    let query = read_section("query", &mut sections, tool, report);
    let path = read_section("path", &mut sections, tool, report).declared;
    let header = read_section("header", &mut sections, tool, report).declared;
    let form = match sections.media {
        Media::Form | Media::JsonOrForm => read_section("body", &mut sections, tool, report),
        Media::None | Media::Json | Media::Multipart | Media::Binary => Fields::default(),
    };
    let root = join(&sections, tool);
    let mut say = |pointer: &[String], message: String| {
        let place = sections.locate(pointer, tool);
        match place {
            Some(item) => item.problem(report, message),
            None => report.at(source, tool.at.clone(), message),
        };
    };
    for (pointer, message) in schema::problems(&root, &tool.api.definitions) {
        say(&pointer, message);
    }
    let body = body_rule(&sections, form, &root, tool);
    check_slots(tool, &body, source, report);
    if report.problems().len() > before {
        return None;
    }
    let patterns = PatternOptions::regex();
    let built = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(patterns)
        .build(&root);
    let validator = match built {
        Ok(validator) => validator,
        Err(problem) => {
            let pointer: Vec<String> = problem
                .instance_path()
                .as_str()
                .split('/')
                .skip(1)
                .map(unescape)
                .collect();
            let (message, help) = schema_problem(&pointer, &problem);
            let diagnostic = match sections.locate(&pointer, tool) {
                Some(item) => item.problem(report, message),
                None => report.at(source, tool.at.clone(), message),
            };
            help.map(|help| diagnostic.help(help));
            return None;
        }
    };
    let names = names(&root, &body, tool);
    Some(Input {
        schema: root,
        validator,
        path,
        query,
        header,
        body,
        names,
    })
}

fn unescape(key: &str) -> String {
    key.replace("~1", "/").replace("~0", "~")
}

/// What is wrong with a schema, in words that help.
fn schema_problem(
    pointer: &[String],
    problem: &jsonschema::ValidationError<'_>,
) -> (String, Option<&'static str>) {
    let value = problem.instance();
    match pointer.last().map(String::as_str) {
        Some("type") => (
            format!("{value} is not a JSON type"),
            Some("the types are string, integer, number, boolean, array, object and null"),
        ),
        Some("pattern") => (
            format!("{value} is not a pattern that can be matched in linear time"),
            Some("look-ahead, look-behind and back-references are not accepted"),
        ),
        _ => (format!("not a valid schema: {problem}"), None),
    }
}

/// A slot has to be a place that requests of the tool have.
fn check_slots(tool: &Context<'_, '_>, body: &BodyRule, source: &Source, report: &mut Report) {
    for slot in tool.slots {
        let problem = match slot {
            Slot::Body(_) => (!matches!(body, BodyRule::Json(_) | BodyRule::Form(..)))
                .then_some("a slot in the body needs a JSON or form body with a schema".to_owned()),
            Slot::Path(name) => (!tool.line.template.contains(&format!("{{{name}}}")))
                .then(|| format!("`{name}` is no parameter of the path")),
            Slot::Header(_) | Slot::Query(_) | Slot::Basic(_) | Slot::Protocol(_) => None,
        };
        if let Some(problem) = problem {
            report.at(source, tool.at.clone(), problem);
        }
    }
}

/// A git push is read by its own rules, so it has no other body.
fn check_git(
    tool: &Context<'_, '_>,
    sections: &Sections<'_>,
    source: &Source,
    report: &mut Report,
) {
    let is_push = is_push(tool.line);
    if is_push && sections.media != Media::None {
        report.at(
            source,
            tool.at.clone(),
            "the body of a git push is read as git; it has no schema of its own",
        );
    }
    let known = is_push
        || tool.line.template.ends_with("/info/refs")
        || tool.line.template.ends_with("/git-upload-pack");
    if !known {
        let problem = report.at(
            source,
            tool.at.clone(),
            "`protocol = \"git\"` does not fit this request",
        );
        problem.help("git uses `GET .../info/refs`, `POST .../git-upload-pack` and `POST .../git-receive-pack`");
    }
}

fn is_push(line: &RequestLine) -> bool {
    line.method == Method::POST && line.template.ends_with("/git-receive-pack")
}

/// How the parameters of a section are read from text. Takes `explode` out of the schema, which is ours.
fn read_section(
    section: &'static str,
    sections: &mut Sections<'_>,
    tool: &Context<'_, '_>,
    report: &mut Report,
) -> Fields {
    let mut found = Vec::new();
    let mut wrong = Vec::new();
    let Some(schema) = sections.schemas.get_mut(section) else {
        return Fields::default();
    };
    let open = |keyword: &str| {
        schema
            .get(keyword)
            .is_some_and(|value| *value != Value::Bool(false))
    };
    let others = match open("additionalProperties") || open("patternProperties") {
        true => Others::Strings,
        false => Others::Refused,
    };
    let Some(Value::Object(properties)) = schema.get_mut("properties") else {
        return Fields::default();
    };
    for (name, property) in properties.iter_mut() {
        let explode = match property
            .as_object_mut()
            .and_then(|members| members.remove("explode"))
        {
            Some(Value::Bool(flag)) => flag,
            Some(_) => {
                wrong.push((name.clone(), "`explode` is true or false"));
                continue;
            }
            None => true,
        };
        let repeats = explode && (section == "query" || section == "body");
        let list = if repeats { List::Repeated } else { List::Comma };
        match Field::of(name, property, &tool.api.scope, list) {
            Ok(_) if section == "header" && HeaderName::from_bytes(name.as_bytes()).is_err() => {
                wrong.push((name.clone(), "not the name of a header"));
            }
            Ok(field) => found.push(field),
            Err(problem) => wrong.push((name.clone(), problem)),
        }
    }
    for (name, problem) in wrong {
        let pointer = ["properties", section, "properties", &name].map(str::to_owned);
        match sections.locate(&pointer, tool) {
            Some(item) => item.problem(report, problem),
            None => report.general(problem),
        };
    }
    Fields {
        declared: found,
        others,
    }
}

/// One schema over all sections, with the definitions that they use.
fn join(sections: &Sections<'_>, tool: &Context<'_, '_>) -> Value {
    let mut members = Map::new();
    members.insert("type".to_owned(), "object".into());
    let mut root = Value::Object(Map::from_iter([(
        "properties".to_owned(),
        Value::Object(sections.schemas.clone()),
    )]));
    let definitions = schema::closure(&root, &tool.api.definitions);
    if let Value::Object(root) = &mut root {
        root.extend(definitions);
    }
    if sections.strict {
        schema::close(&mut root);
    }
    if let Value::Object(root) = root {
        members.extend(root);
    }
    // Sections are put together by the check itself, so a section that is absent is not "undeclared".
    members.remove("additionalProperties");
    Value::Object(members)
}

fn body_rule(
    sections: &Sections<'_>,
    form: Fields,
    root: &Value,
    tool: &Context<'_, '_>,
) -> BodyRule {
    let presence = || {
        let schema = root
            .pointer("/properties/body")
            .map(|body| schema::resolve(body, root));
        let needs = schema
            .and_then(|schema| schema.get("required"))
            .and_then(Value::as_array);
        let optional = schema.is_some_and(|schema| schema::types(schema, root) == Types::OBJECT);
        match optional && needs.is_none_or(Vec::is_empty) {
            true => Presence::Optional,
            false => Presence::Needed,
        }
    };
    if tool.protocol == Protocol::GraphQl {
        let wanted = sections.media == Media::Json;
        return BodyRule::GraphQl(if wanted {
            Detail::Arguments
        } else {
            Detail::Fields
        });
    }
    match sections.media {
        Media::None if tool.protocol == Protocol::Git && is_push(tool.line) => BodyRule::GitPush,
        Media::None if matches!(tool.local, Some(Local::Sign(_))) => BodyRule::GitObject,
        Media::None => BodyRule::Absent,
        Media::Json => BodyRule::Json(presence()),
        Media::Form => BodyRule::Form(presence(), form),
        Media::JsonOrForm => BodyRule::JsonOrForm(presence(), form),
        Media::Multipart => BodyRule::Multipart,
        Media::Binary => BodyRule::Binary,
    }
}

/// The flat names of all arguments; a name that stands in two sections is written with its section in front.
fn names(root: &Value, body: &BodyRule, tool: &Context<'_, '_>) -> BTreeMap<String, Place> {
    let mut all: Vec<(String, Place)> = Vec::new();
    for section in ["path", "query", "header", "body"] {
        let Some(schema) = root
            .get("properties")
            .and_then(|sections| sections.get(section))
        else {
            continue;
        };
        match schema::resolve(schema, root).get("properties") {
            Some(Value::Object(properties)) => {
                all.extend(properties.keys().map(|name| {
                    (
                        name.clone(),
                        Place {
                            section,
                            member: Some(name.clone()),
                        },
                    )
                }));
            }
            _ => all.push((
                section.to_owned(),
                Place {
                    section,
                    member: None,
                },
            )),
        }
    }
    let inside = match body {
        BodyRule::GitPush | BodyRule::GitObject => Some("git"),
        BodyRule::GraphQl(_) => Some("graphql"),
        _ => tool.llm.map(|_rules| "llm"),
    };
    all.extend(inside.map(|section| {
        let member = None;
        (section.to_owned(), Place { section, member })
    }));
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for (name, _) in &all {
        *count.entry(name.clone()).or_default() += 1;
    }
    let named = |(name, place): (String, Place)| match count.get(&name) {
        Some(1) | None => (name, place),
        Some(_) => (format!("{}.{name}", place.section), place),
    };
    all.into_iter().map(named).collect()
}
