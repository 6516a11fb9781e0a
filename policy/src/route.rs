//! Finding the tool that a method, an origin and a path name: exact origin, then method, then the path's tree.

use std::{collections::HashMap, sync::Arc};

use exeat_types::{Host, Origin, Report, ToolName};
use http::Method;
use matchit::{InsertError, Router};
use percent_encoding::percent_decode_str;

use crate::{Tool, declare::Declared, graphql::collisions};

/// The tool that a request names, and the values of the parameters in its path.
#[derive(Debug)]
pub struct Found {
    /// The tool.
    pub tool: Arc<Tool>,
    /// Name and decoded value of each path parameter.
    pub params: Vec<(Arc<str>, String)>,
    /// Path parameters that hold a slash where the tool takes none, and what is wrong with each.
    pub(crate) misread: Vec<(Arc<str>, &'static str)>,
    /// All tools on the same path, this one too, when the body says which is meant.
    pub(crate) beside: Option<Arc<[Arc<Tool>]>>,
}

/// No tool takes this method on this path, and how near the request came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFound {
    /// Some tool names this origin.
    pub host_known: bool,
    /// Some tool has this path, with another method.
    pub path_known: bool,
    /// The tool whose template is nearest.
    pub nearest: Option<ToolName>,
}

/// Every tool, by where it is called.
#[derive(Default)]
pub(crate) struct Routes {
    origins: HashMap<Origin, Site>,
    ports: HashMap<Host, Vec<u16>>,
}

#[derive(Default)]
struct Site {
    methods: HashMap<Method, Router<Arc<[Arc<Tool>]>>>,
    tools: Vec<Arc<Tool>>,
}

impl Routes {
    /// Sorts the tools in; two that could mean the same request are reported.
    pub(crate) fn build(declared: &[Declared], report: &mut Report) -> Self {
        let mut routes = Self::default();
        for one in declared {
            let tool = &one.tool;
            let ports = routes.ports.entry(tool.origin.host.clone()).or_default();
            if !ports.contains(&tool.origin.port) {
                ports.push(tool.origin.port);
            }
            let site = routes.origins.entry(tool.origin.clone()).or_default();
            site.tools.push(Arc::clone(tool));
            let router = site.methods.entry(tool.method.clone()).or_default();
            if tool.graphql.is_some()
                && let Ok(place) = router.at_mut(&tool.template)
                && place.value.iter().all(|other| other.graphql.is_some())
            {
                if let Some(problem) = collisions(place.value, tool) {
                    report.at(&one.source, one.request_at.clone(), problem);
                }
                let all = place.value.iter().chain([tool]).cloned();
                *place.value = all.collect();
                continue;
            }
            let Err(problem) = router.insert(tool.template.clone(), Arc::from([Arc::clone(tool)]))
            else {
                continue;
            };
            let other = match &problem {
                InsertError::Conflict { with } => {
                    let same = |other: &&Declared| {
                        other.tool.template == *with
                            && other.tool.origin == tool.origin
                            && other.tool.method == tool.method
                    };
                    declared.iter().find(same)
                }
                _ => None,
            };
            let message = match other {
                Some(other) => format!(
                    "`{}` and `{}` take the same requests",
                    tool.name, other.tool.name
                ),
                None => format!("this path cannot stand beside the others: {problem}"),
            };
            let diagnostic = report.at(&one.source, one.request_at.clone(), message);
            if let Some(other) = other {
                let problem = exeat_types::Diagnostic {
                    place: Some((other.source.clone(), other.request_at.clone())),
                    message: String::new(),
                    label: String::new(),
                    help: None,
                };
                let line = problem.line_column().map_or(1, |(line, _)| line);
                diagnostic.help(format!("the other is at {}:{line}", other.source.name));
            }
        }
        routes
    }

    pub(crate) fn find(
        &self,
        method: &Method,
        origin: &Origin,
        path: &str,
    ) -> Result<Found, NotFound> {
        let Some(site) = self.origins.get(origin) else {
            return Err(NotFound {
                host_known: false,
                path_known: false,
                nearest: None,
            });
        };
        let matched = site
            .methods
            .get(method)
            .and_then(|router| router.at(path).ok());
        let found = matched.and_then(|matched| {
            let tool = matched.value.first()?;
            let mut misread = Vec::new();
            let decode = |(name, raw): (&str, &str)| {
                let name: Arc<str> = Arc::from(name);
                // A parameter that is not UTF-8 has no value that a rule could judge, so nothing is found.
                let text = percent_decode_str(raw).decode_utf8().ok()?.into_owned();
                let problem = match tool.encoded_slash.iter().any(|known| **known == *name) {
                    true => trick_between_slashes(raw, &text),
                    false => has_slash(raw).then_some("an encoded slash is not accepted here"),
                };
                misread.extend(problem.map(|problem| (Arc::clone(&name), problem)));
                Some((name, text))
            };
            let params = matched.params.iter().map(decode).collect::<Option<_>>()?;
            Some(Found {
                tool: Arc::clone(tool),
                params,
                misread,
                beside: (matched.value.len() > 1).then(|| Arc::clone(matched.value)),
            })
        });
        found.ok_or_else(|| site.not_found(path))
    }

    pub(crate) fn knows_host(&self, host: &Host, port: u16) -> bool {
        self.ports
            .get(host)
            .is_some_and(|ports| port == 0 || ports.contains(&port))
    }

    /// The tools of an origin whose templates are nearest to a path, best first.
    pub(crate) fn nearest(&self, origin: &Origin, path: &str, most: usize) -> Vec<Arc<Tool>> {
        self.origins
            .get(origin)
            .map(|site| site.nearest(path, most))
            .unwrap_or_default()
    }
}

impl Site {
    fn not_found(&self, path: &str) -> NotFound {
        let path_known = self.methods.values().any(|router| router.at(path).is_ok());
        let nearest = self.nearest(path, 1).first().map(|tool| tool.name.clone());
        NotFound {
            host_known: true,
            path_known,
            nearest,
        }
    }

    fn nearest(&self, path: &str, most: usize) -> Vec<Arc<Tool>> {
        let mut scored: Vec<(usize, &Arc<Tool>)> = self
            .tools
            .iter()
            .map(|tool| (distance(&tool.template, path), tool))
            .collect();
        let longest = path.split('/').count();
        scored.retain(|(far, _)| *far < longest * 2);
        scored.sort_by(|(far_a, a), (far_b, b)| (far_a, &a.name).cmp(&(far_b, &b.name)));
        scored
            .into_iter()
            .take(most)
            .map(|(_, tool)| Arc::clone(tool))
            .collect()
    }
}

fn has_slash(raw: &str) -> bool {
    raw.contains("%2F") || raw.contains("%2f")
}

/// What is wrong with a path parameter that may hold encoded slashes, if anything.
fn trick_between_slashes(raw: &str, text: &str) -> Option<&'static str> {
    if has_slash(raw) && text.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Some("empty parts and dot segments are not accepted between slashes");
    }
    // SECURITY: a server that decodes once more would see other slashes than the rules did.
    let twice = percent_decode_str(text).count() < text.len();
    (twice || text.contains('\\') || text.chars().any(char::is_control))
        .then_some("escaped escapes, backslashes and control characters are not accepted here")
}

/// How far a path is from a template: two for each segment that differs or is missing, none for a parameter.
fn distance(template: &str, path: &str) -> usize {
    let mut far = 0;
    let (mut wanted, mut given) = (template.split('/').skip(1), path.split('/').skip(1));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return far,
            (Some(segment), Some(_)) if segment.contains('{') => {}
            (Some(a), Some(b)) if a == b => {}
            _ => far += 2,
        }
    }
}
