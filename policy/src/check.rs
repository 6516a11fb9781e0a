//! Checking a request against a tool's declared input, and making typed arguments of it.
//!
//! What is not declared is refused: a query parameter, a body. Header fields are the exception, as ordinary HTTP adds
//! its own; only declared ones become arguments. Every problem is collected, up to a limit.

use http::{HeaderMap, header};
use serde_json::{Map, Value};

use crate::{
    Arguments, Body, Found, Request, Slot, Tool, Violation,
    tool::{BodyRule, Fields, Others, Presence},
    wire::{Field, Text, media_type, pairs, shorten},
};

/// Most violations that are told of one request.
const VIOLATIONS_MAX: usize = 8;
/// Longest text of one violation.
const PROBLEM_CHARS_MAX: usize = 300;

impl Found {
    /// Checks a request against the tool's declared input.
    ///
    /// # Errors
    /// Every violation found, up to eight.
    pub fn check(&self, request: &Request<'_>) -> Result<Arguments, Vec<Violation>> {
        let tool = &*self.tool;
        let mut wrong = Vec::new();
        let mut sections = Map::new();
        let path = self.read_path(&mut wrong);
        let query = read_query(tool, request.query.unwrap_or_default(), &mut wrong);
        let header = read_headers(tool, request.headers, &mut wrong);
        for (name, section) in [("path", path), ("query", query), ("header", header)] {
            // A declared section is judged even when it is empty: something in it may be required.
            if tool.input.declares(name) {
                sections.insert(name.to_owned(), Value::Object(section));
            }
        }
        let mut body = read_body(tool, request, &mut wrong);
        let inside = self.look_inside(&mut body, &mut wrong);
        let stands_in = matches!(body, Read::Nothing) && accepts_nothing(&tool.input.body);
        let git = match body {
            Read::Json(value) => {
                sections.insert("body".to_owned(), value);
                None
            }
            Read::Git(value) => Some(value),
            // A body that may be absent is judged as the empty object, and is no argument.
            Read::Nothing if stands_in => {
                sections.insert("body".to_owned(), Value::Object(Map::new()));
                None
            }
            Read::Nothing => None,
        };
        let mut value = Value::Object(sections);
        if wrong.is_empty() {
            validate(tool, &value, &mut wrong);
        }
        if !wrong.is_empty() {
            wrong.truncate(VIOLATIONS_MAX);
            return Err(wrong);
        }
        if let Value::Object(sections) = &mut value {
            if stands_in {
                sections.remove("body");
            }
            if let Some(git) = git {
                sections.insert("git".to_owned(), git);
            }
            let named = |(name, value): (&str, Value)| (name.to_owned(), value);
            sections.extend(inside.sections.into_iter().map(named));
        }
        let mut arguments = Arguments::new(value);
        arguments.body = inside.body;
        match tool.words(&arguments) {
            Ok(_words) => Ok(arguments),
            Err(violation) => Err(vec![violation]),
        }
    }

    fn read_path(&self, wrong: &mut Vec<Violation>) -> Map<String, Value> {
        let mut out = Map::new();
        for (name, problem) in &self.misread {
            wrong.push(Violation::new(format!("path.{name}"), *problem));
        }
        for field in &self.tool.input.path {
            let Some((_, text)) = self.params.iter().find(|(name, _)| **name == *field.name) else {
                continue;
            };
            match field.read("path", &[Text::plain(text)]) {
                Ok(value) => drop(out.insert(field.name.clone(), value)),
                Err(violation) => wrong.push(violation),
            }
        }
        out
    }
}

fn read_query(tool: &Tool, raw: &str, wrong: &mut Vec<Violation>) -> Map<String, Value> {
    let is_slot = |name: &str| {
        tool.slots
            .iter()
            .any(|slot| matches!(slot, Slot::Query(known) if known == name))
    };
    read_form("query", &tool.input.query, raw, &is_slot, wrong)
}

/// Reads the parameters of a form; what is neither declared nor a slot is refused, unless the schema is open.
fn read_form(
    place: &str,
    fields: &Fields,
    raw: &str,
    is_slot: &dyn Fn(&str) -> bool,
    wrong: &mut Vec<Violation>,
) -> Map<String, Value> {
    let mut out = Map::new();
    let found = match pairs(place, raw) {
        Ok(found) => found,
        Err(violation) => {
            wrong.push(violation);
            return out;
        }
    };
    let mut grouped: Vec<(String, Vec<Text>)> = Vec::new();
    for (name, text) in found {
        match grouped.iter_mut().find(|(known, _)| *known == name) {
            Some((_, texts)) => texts.push(text),
            None => grouped.push((name, vec![text])),
        }
    }
    for (name, texts) in grouped {
        let declared = fields.declared.iter().find(|field| field.name == name);
        let read = match declared {
            Some(field) => field.read(place, &texts),
            None if is_slot(&name) => continue,
            None if fields.others == Others::Strings => match &*texts {
                [one] => Ok(Value::String(one.decoded.clone())),
                _ => Err(Violation::new(
                    format!("{place}.{}", shorten(&name)),
                    "stands more than once",
                )),
            },
            None => Err(undeclared(place, &name, &fields.declared)),
        };
        match read {
            Ok(value) => drop(out.insert(name, value)),
            Err(violation) => wrong.push(violation),
        }
    }
    out
}

fn undeclared(place: &str, name: &str, declared: &[Field]) -> Violation {
    let near = exeat_types::did_you_mean(name, declared.iter().map(|field| field.name.as_str()));
    let hint = near
        .map(|near| format!("; did you mean `{near}`?"))
        .unwrap_or_default();
    Violation::new(
        format!("{place}.{}", shorten(name)),
        format!("this tool does not take it{hint}"),
    )
}

fn read_headers(
    tool: &Tool,
    headers: &HeaderMap,
    wrong: &mut Vec<Violation>,
) -> Map<String, Value> {
    let mut out = Map::new();
    for field in &tool.input.header {
        let mut texts = Vec::new();
        for value in headers.get_all(field.name.as_str()) {
            match value.to_str() {
                Ok(text) => texts.push(Text::plain(text)),
                Err(_) => wrong.push(Violation::new(
                    format!("header.{}", field.name),
                    "not plain text",
                )),
            }
        }
        if texts.is_empty() {
            continue;
        }
        match field.read("header", &texts) {
            Ok(value) => drop(out.insert(field.name.clone(), value)),
            Err(violation) => wrong.push(violation),
        }
    }
    out
}

/// What a body turned out to be.
pub(crate) enum Read {
    Nothing,
    Json(Value),
    Git(Value),
}

pub(crate) const fn accepts_nothing(rule: &BodyRule) -> bool {
    matches!(
        rule,
        BodyRule::Json(Presence::Optional)
            | BodyRule::Form(Presence::Optional, _)
            | BodyRule::JsonOrForm(Presence::Optional, _)
    )
}

pub(crate) fn read_body(tool: &Tool, request: &Request<'_>, wrong: &mut Vec<Violation>) -> Read {
    let rule = &tool.input.body;
    let mut refuse = |problem: &str| {
        wrong.push(Violation::new("body", problem));
        Read::Nothing
    };
    let bytes = match (request.body, rule) {
        (
            Body::Absent | Body::Whole([]),
            BodyRule::Absent | BodyRule::Binary | BodyRule::Multipart,
        ) => {
            return Read::Nothing;
        }
        (Body::Absent | Body::Whole([]), rule) if accepts_nothing(rule) => return Read::Nothing,
        (Body::Absent | Body::Whole([]), _) => return refuse("this tool needs a body"),
        (_, BodyRule::Absent) => return refuse("this tool takes no body"),
        (_, BodyRule::Binary) => return Read::Nothing,
        (_, BodyRule::Multipart) => {
            let fits = matches!(
                media_type(request.headers).as_deref(),
                Ok("multipart/form-data")
            );
            return if fits {
                Read::Nothing
            } else {
                refuse("expected content-type `multipart/form-data`")
            };
        }
        (Body::Whole(bytes), _) => bytes,
        // Fails closed: a body that has to be judged was not read.
        (Body::Streamed, _) => {
            return refuse("the body has to be read whole before it can be judged");
        }
    };
    if request
        .headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .any(|coding| coding != "identity")
    {
        return refuse("this tool takes no compressed body");
    }
    let media = match media_type(request.headers) {
        Ok(media) => media,
        Err(problem) => return refuse(problem),
    };
    match rule {
        BodyRule::Json(_) if media == "application/json" || media.ends_with("+json") => {
            read_json(bytes, wrong)
        }
        BodyRule::Json(_) => refuse("expected content-type `application/json`"),
        // Servers disagree on what other types of this kind mean.
        BodyRule::GraphQl(_) if media == "application/json" => read_json(bytes, wrong),
        BodyRule::GraphQl(_) => refuse("expected content-type `application/json`"),
        BodyRule::JsonOrForm(..) if media == "application/json" => read_json(bytes, wrong),
        BodyRule::Form(_, fields) | BodyRule::JsonOrForm(_, fields)
            if media == "application/x-www-form-urlencoded" =>
        {
            read_form_body(bytes, fields, wrong)
        }
        BodyRule::JsonOrForm(..) => {
            refuse("expected `application/json` or `application/x-www-form-urlencoded`")
        }
        BodyRule::Form(..) => refuse("expected content-type `application/x-www-form-urlencoded`"),
        BodyRule::GitPush if media == "application/x-git-receive-pack-request" => {
            read_push(bytes, wrong)
        }
        BodyRule::GitPush => {
            refuse("expected content-type `application/x-git-receive-pack-request`")
        }
        BodyRule::GitObject => read_object(&media, bytes, wrong),
        BodyRule::Absent | BodyRule::Multipart | BodyRule::Binary => Read::Nothing,
    }
}

fn read_json(bytes: &[u8], wrong: &mut Vec<Violation>) -> Read {
    match exeat_types::unique_json(bytes) {
        Ok(value) => Read::Json(value),
        Err(problem) => {
            wrong.push(Violation::new(
                "body",
                shorten_to(&problem.to_string(), PROBLEM_CHARS_MAX),
            ));
            Read::Nothing
        }
    }
}

fn read_form_body(bytes: &[u8], fields: &Fields, wrong: &mut Vec<Violation>) -> Read {
    let Ok(raw) = std::str::from_utf8(bytes) else {
        wrong.push(Violation::new("body", "not UTF-8"));
        return Read::Nothing;
    };
    Read::Json(Value::Object(read_form(
        "body",
        fields,
        raw,
        &|_| false,
        wrong,
    )))
}

fn read_push(bytes: &[u8], wrong: &mut Vec<Violation>) -> Read {
    match crate::push::arguments(bytes) {
        Ok(value) => Read::Git(value),
        Err(problem) => {
            wrong.push(Violation::new(
                "body",
                shorten_to(&problem.to_string(), PROBLEM_CHARS_MAX),
            ));
            Read::Nothing
        }
    }
}

fn read_object(media: &str, bytes: &[u8], wrong: &mut Vec<Violation>) -> Read {
    if media != "application/octet-stream" {
        let problem = "expected content-type `application/octet-stream`";
        wrong.push(Violation::new("body", problem));
        return Read::Nothing;
    }
    match crate::git::parse_object(bytes) {
        Ok(object) => Read::Git(object.arguments()),
        Err(problem) => {
            let problem = shorten_to(&problem.to_string(), PROBLEM_CHARS_MAX);
            wrong.push(Violation::new("body", problem));
            Read::Nothing
        }
    }
}

fn validate(tool: &Tool, value: &Value, wrong: &mut Vec<Violation>) {
    if tool.input.validator.is_valid(value) {
        return;
    }
    for error in tool.input.validator.iter_errors(value).take(VIOLATIONS_MAX) {
        let long = error.instance().to_string().len() > 64;
        let problem = if long {
            error.masked_with("the value").to_string()
        } else {
            error.to_string()
        };
        let place = place_of(error.instance_path().as_str());
        wrong.push(Violation::new(
            place,
            shorten_to(&problem, PROBLEM_CHARS_MAX),
        ));
    }
    if wrong.is_empty() {
        // Fails closed: the validator said no and could not say why.
        wrong.push(Violation::new("body", "does not fit the schema"));
    }
}

/// `/path/owner` is shown as `path.owner`, `/body/user/name` as `body/user/name`.
fn place_of(pointer: &str) -> String {
    let inner = pointer.strip_prefix('/').unwrap_or(pointer);
    match inner.split_once('/') {
        Some((section, rest)) if section != "body" => format!("{section}.{rest}"),
        _ if inner.is_empty() => "request".to_owned(),
        _ => shorten_to(inner, 120),
    }
}

fn shorten_to(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let kept: String = text.chars().take(chars_max.saturating_sub(3)).collect();
    format!("{kept}...")
}
