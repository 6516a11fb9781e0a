//! Lines of a proposal: which tools would be declared at which origin, and which rule each agent would need.

use std::collections::{BTreeMap, BTreeSet};

use exeat_types::{AgentId, Origin};
use http::Method;
use matchit::Router;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::{
    Doubt, Evidence, Ground, Line, Seen, Sent,
    doubt::{self, Timeline},
    literals, name,
    paths::{self, Words},
    shape::{self, Kind},
};
use crate::wire::pairs;

/// An origin with the tools that would be declared there.
pub(super) struct Site {
    pub(super) origin: Origin,
    /// What the API would be called.
    pub(super) api: String,
    pub(super) tools: Vec<Learned>,
}

/// A tool that would be declared.
pub(super) struct Learned {
    /// The name below the API's.
    pub(super) name: String,
    pub(super) method: Method,
    pub(super) template: String,
    pub(super) path: BTreeMap<String, Argument>,
    pub(super) query: BTreeMap<String, Argument>,
    pub(super) body: Body,
    pub(super) lines: Vec<Line>,
}

impl Learned {
    /// Whether anybody would use it.
    pub(super) fn is_active(&self) -> bool {
        self.lines.iter().any(|line| line.doubts.is_empty())
    }
}

/// An argument and what it was seen with.
pub(super) struct Argument {
    pub(super) schema: Value,
    pub(super) calls: usize,
    pub(super) values: usize,
}

/// What body it would take.
pub(super) enum Body {
    Nothing,
    Json(Value),
    Unread,
}

/// A call that no tool declares, taken apart.
#[derive(Clone)]
pub(super) struct Read<'s> {
    pub(super) seen: &'s Seen,
    pub(super) path: &'s str,
    pub(super) query: Vec<(String, String)>,
    pub(super) body: &'s Sent,
    taint: Option<Doubt>,
}

/// Finds the tools that undeclared calls would need, site by site.
pub(super) fn sites(seen: &[Seen], timeline: &Timeline, ground: &Ground<'_>) -> Vec<Site> {
    let mut by_origin: BTreeMap<String, Vec<Read<'_>>> = BTreeMap::new();
    for one in seen.iter().filter(|one| one.is_evidence()) {
        if let Some(read) = read(one, timeline) {
            by_origin
                .entry(one.origin.to_string())
                .or_default()
                .push(read);
        }
    }
    let mut sites = Vec::new();
    for reads in by_origin.values() {
        let Some(first) = reads.first() else { continue };
        let origin = first.seen.origin.clone();
        let taken: BTreeSet<String> = sites.iter().map(|site: &Site| site.api.clone()).collect();
        let mut site = Site {
            api: name::api_name(&origin, &taken, ground),
            origin,
            tools: Vec::new(),
        };
        let methods: BTreeSet<&str> = reads.iter().map(|read| read.seen.method.as_str()).collect();
        for method in methods {
            let of_method = reads.iter().filter(|read| read.seen.method == method);
            let of_method: Vec<&Read<'_>> = of_method.collect();
            of_one_method(&of_method, &mut site, timeline, ground);
        }
        sites.push(site);
    }
    sites
}

fn read<'s>(seen: &'s Seen, timeline: &Timeline) -> Option<Read<'s>> {
    let asked = seen.request.as_ref()?;
    let query = pairs("query", asked.query.as_deref().unwrap_or_default());
    let query = query.ok()?.into_iter();
    let query: Vec<_> = query.map(|(name, text)| (name, text.decoded)).collect();
    let names: BTreeSet<&str> = query.iter().map(|(name, _)| &**name).collect();
    // What stands twice in a query, or hides a slash in a path, is not proposed: no tool of ours would take it.
    let plain = names.len() == query.len() && !asked.path.to_ascii_uppercase().contains("%2F");
    plain.then(|| Read {
        seen,
        path: &asked.path,
        query,
        body: &asked.body,
        taint: timeline.taint(seen),
    })
}

fn of_one_method(reads: &[&Read<'_>], site: &mut Site, timeline: &Timeline, ground: &Ground<'_>) {
    let words = match ground.is_credentialed(&site.origin.host) {
        true => Words::Stay,
        false => Words::Merge,
    };
    let paths = |tainted: bool| {
        let mut paths = paths::Callers::new();
        for read in reads.iter().filter(|r| r.taint.is_some() == tainted) {
            let callers = paths.entry(read.path).or_default();
            callers.insert((&read.seen.agent, read.seen.run.as_ref()));
        }
        paths
    };
    let mut found = paths::templates(&paths(false), words);
    let mut rest = paths(true);
    rest.retain(|path, _| !found.keys().any(|template| paths::fits(template, path)));
    for (template, made_of) in paths::templates(&rest, words) {
        found.entry(template).or_default().extend(made_of);
    }
    let Some(method) = reads.first().map(|read| read.seen.method.clone()) else {
        return;
    };
    let mut router = router(&site.origin, &method, ground);
    let mut left: Vec<&Read<'_>> = reads.to_vec();
    for (template, made_of) in found {
        let (here, others): (Vec<_>, Vec<_>) = left
            .into_iter()
            .partition(|read| made_of.contains(read.path) || paths::fits(&template, read.path));
        left = others;
        let conflict = router.insert(template.clone(), ()).err();
        let conflict = conflict.map(|problem| Doubt::Unsayable {
            problem: format!("it cannot stand beside other tools: {problem}"),
        });
        let name = name::tool_name(&method, &template, &site.tools);
        let mut tool = Learned {
            name,
            method: method.clone(),
            template,
            path: BTreeMap::new(),
            query: BTreeMap::new(),
            body: Body::Nothing,
            lines: Vec::new(),
        };
        fill(&mut tool, &here, (site, timeline, conflict), ground);
        site.tools.push(tool);
    }
}

/// Makes the lines of a tool, then its schemas of the calls that these rest on.
fn fill(
    tool: &mut Learned,
    reads: &[&Read<'_>],
    (site, timeline, conflict): (&Site, &Timeline, Option<Doubt>),
    ground: &Ground<'_>,
) {
    let mut by_agent: BTreeMap<&AgentId, Vec<&Read<'_>>> = BTreeMap::new();
    for read in reads {
        by_agent.entry(&read.seen.agent).or_default().push(read);
    }
    let mut resting: Vec<&Read<'_>> = Vec::new();
    for (agent, all) in by_agent {
        let clean: Vec<&Read<'_>> = all.iter().filter(|r| r.taint.is_none()).copied().collect();
        let mut doubts = timeline.host(agent, &site.origin, ground.now);
        doubts.extend(conflict.clone());
        let calls = match clean.is_empty() {
            true => {
                doubts.extend(all.iter().find_map(|read| read.taint.clone()));
                all
            }
            false => clean,
        };
        doubts.extend(names_of(&calls, &tool.template));
        if calls.iter().any(|read| *read.body == Sent::Unread) {
            doubts.extend(doubt::unread(ground, &site.origin.host));
        }
        if doubts.is_empty() {
            resting.extend(&calls);
        }
        tool.lines.push(Line {
            agent: agent.clone(),
            tool: format!("{}.{}", site.api, tool.name),
            request: format!("{} {}", tool.method, tool.template),
            origin: site.origin.clone(),
            literals: literals::of_calls(&calls, &tool.template),
            evidence: Evidence::of(calls.iter().map(|read| read.seen)),
            doubts,
        });
    }
    // SECURITY: what is in doubt widens nothing that is not.
    let resting = if resting.is_empty() { reads } else { &resting };
    schemas(tool, resting);
}

fn names_of(calls: &[&Read<'_>], template: &str) -> BTreeSet<Doubt> {
    let mut names: BTreeSet<&str> = template
        .split('/')
        .filter(|s| !s.starts_with('{'))
        .collect();
    for read in calls {
        names.extend(read.query.iter().map(|(name, _)| &**name));
        if let Sent::Json(body) = read.body {
            shape::member_names(body, &mut names);
        }
    }
    let mut doubts: BTreeSet<Doubt> = names.into_iter().filter_map(doubt::random).collect();
    // SECURITY: what looks random in a path may carry anything out, wherever it stands.
    let segments = calls.iter().flat_map(|read| read.path.split('/'));
    let random = segments.filter(|segment| Kind::of(segment).is_random());
    doubts.extend(random.map(|name| Doubt::RandomName {
        name: name.to_owned(),
    }));
    doubts
}

fn schemas(tool: &mut Learned, calls: &[&Read<'_>]) {
    let mut path: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut query: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut bodies = Vec::new();
    let (mut unread, mut bare) = (false, false);
    for read in calls {
        for (name, raw) in paths::values(&tool.template, read.path) {
            path.entry(name).or_default().push(decoded(raw));
        }
        for (name, value) in &read.query {
            query.entry(name).or_default().push(value);
        }
        match read.body {
            Sent::Nothing => bare = true,
            Sent::Json(body) => bodies.push(body),
            Sent::Unread => unread = true,
        }
    }
    let argument = |name: &str, calls: usize, values: BTreeSet<&str>, schema: Value| {
        let argument = Argument {
            schema,
            calls,
            values: values.len(),
        };
        (name.to_owned(), argument)
    };
    let of_path = path.iter().map(|(name, all)| {
        let values: BTreeSet<&str> = all.iter().map(String::as_str).collect();
        let schema = shape::of_texts(&values);
        argument(name, all.len(), values, schema)
    });
    let of_query = query.iter().map(|(name, all)| {
        let values: BTreeSet<&str> = all.iter().copied().collect();
        let schema = shape::of_parameters(&values);
        argument(name, all.len(), values, schema)
    });
    let (path, query) = (of_path.collect(), of_query.collect());
    let mut schema = shape::of_bodies(&bodies, 0);
    if let Some(members) = schema.as_object_mut().filter(|_| bare) {
        members.remove("required");
    }
    let body = match (unread, bodies.is_empty()) {
        (true, _) => Body::Unread,
        (false, true) => Body::Nothing,
        (false, false) => Body::Json(schema),
    };
    (tool.path, tool.query, tool.body) = (path, query, body);
}

pub(super) fn decoded(raw: &str) -> String {
    percent_decode_str(raw).decode_utf8_lossy().into_owned()
}

/// Finds the rules that calls of declared tools would need if there were no others.
pub(super) fn declared(seen: &[Seen], timeline: &Timeline, ground: &Ground<'_>) -> Vec<Line> {
    let mut by_tool: BTreeMap<(&AgentId, &str), Vec<&Seen>> = BTreeMap::new();
    let counts = |one: &&Seen| one.request.is_none() && one.is_evidence();
    for one in seen.iter().filter(counts) {
        by_tool
            .entry((&one.agent, one.tool.as_str()))
            .or_default()
            .push(one);
    }
    let mut lines = Vec::new();
    for ((agent, name), all) in by_tool {
        let Some(tool) = ground.policy.tool(name) else {
            continue;
        };
        let clean = all.iter().filter(|one| timeline.taint(one).is_none());
        let clean: Vec<&Seen> = clean.copied().collect();
        let mut doubts = BTreeSet::new();
        let calls = if clean.is_empty() {
            doubts.extend(all.iter().find_map(|one| timeline.taint(one)));
            all
        } else {
            clean
        };
        let known: BTreeSet<&str> = tool.argument_names().collect();
        let mut repeated = literals::repeated(calls.iter().map(|one| {
            let sections = ["path", "query"]
                .iter()
                .filter_map(|section| one.arguments.as_ref()?.get(section)?.as_object());
            let texts = sections
                .flat_map(Map::iter)
                .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
            (one.run.as_ref(), texts.collect())
        }));
        repeated.retain(|name, _| known.contains(&**name));
        lines.push(Line {
            agent: agent.clone(),
            tool: name.to_owned(),
            request: format!("{} {}", tool.method, tool.template),
            origin: tool.origin.clone(),
            literals: repeated,
            evidence: Evidence::of(calls.into_iter()),
            doubts,
        });
    }
    lines
}

/// A router with what is declared at this origin already.
fn router(origin: &Origin, method: &Method, ground: &Ground<'_>) -> Router<()> {
    let mut router = Router::new();
    let tools = ground.policy.tools();
    for tool in tools.filter(|tool| tool.origin == *origin && tool.method == *method) {
        // Tools that share a path, as those of GraphQL do, claim it once.
        if router.insert(tool.template.clone(), ()).is_err() {
            continue;
        }
    }
    router
}
