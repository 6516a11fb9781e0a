//! What one compilation leaves for the next: files, rules, checks and slices that did not change are not done again.
//!
//! Every key is a digest over all that the result depends on, so a stale entry cannot be found.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use exeat_types::{Digest, DigestBuilder, Report, Source, Timestamp, ToolName};

use crate::{
    Tool,
    cedar::{Compiled, Slice},
    declare::{self, Declared},
    observed,
    route::Routes,
};

/// Results of earlier compilations, for [`crate::Policy::compile_with`].
#[derive(Default)]
pub struct Cache {
    files: Kept<Arc<Vec<Declared>>>,
    tools: Kept<Tools>,
    pub(crate) rules: Kept<Arc<Compiled>>,
    pub(crate) checks: Kept<()>,
    pub(crate) slices: Kept<Arc<Slice>>,
    /// The moment that the next compilation is for.
    now: Option<Timestamp>,
}

/// Every tool of a policy, with what depends on the tools alone.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) digest: Digest,
    pub(crate) all: Arc<Vec<Declared>>,
    pub(crate) by_name: Arc<BTreeMap<ToolName, Arc<Tool>>>,
    pub(crate) routes: Arc<Routes>,
    /// The tools in order of their names; an index into it stands for a tool.
    pub(crate) list: Arc<Vec<Arc<Tool>>>,
    /// Which tools an action group holds.
    pub(crate) groups: Arc<BTreeMap<String, Vec<usize>>>,
}

/// The action groups that a tool belongs to: its category, and every prefix of its name as in `github.*`.
pub(crate) fn groups_of(tool: &Tool) -> Vec<String> {
    let mut groups = vec!["*".to_owned(), category_group(tool.category.as_str())];
    let name = tool.name.as_str();
    groups.extend(
        name.match_indices('.')
            .filter_map(|(at, _)| Some(format!("{}.*", name.get(..at)?))),
    );
    groups
}

/// The action group of a category.
pub(crate) fn category_group(word: &str) -> String {
    format!("category:{word}")
}

impl Cache {
    /// Reads every tool file, or takes what was read before.
    pub(crate) fn read_tools(&mut self, sources: &[Source], report: &mut Report) -> Tools {
        let keys: Vec<Digest> = sources
            .iter()
            .map(|source| key(&[&source.name, &source.text]))
            .collect();
        let hexes: Vec<String> = keys.iter().map(Digest::hex).collect();
        let digest = key(&hexes.iter().map(String::as_str).collect::<Vec<_>>());
        if let Some(known) = self.tools.find(&digest) {
            keys.iter().for_each(|key| drop(self.files.find(key)));
            return known;
        }
        let mut all = Vec::new();
        let before = report.problems().len();
        for (source, key) in sources.iter().zip(keys) {
            let file = self.files.find(&key).unwrap_or_else(|| {
                let before = report.problems().len();
                let file = Arc::new(declare::read(source, report));
                if report.problems().len() == before {
                    self.files.keep(key, Arc::clone(&file));
                }
                file
            });
            all.extend(file.iter().cloned());
        }
        forbid_reserved(&all, report);
        let tools = Tools::join(digest, all, report);
        if report.problems().len() == before {
            self.tools.keep(digest, tools.clone());
        }
        tools
    }

    /// Says for which moment the next compilations are: rules that are over by then are left out. Without it none is.
    pub const fn at(&mut self, now: Timestamp) {
        self.now = Some(now);
    }

    pub(crate) fn is_over(&self, until: Timestamp) -> bool {
        self.now.is_some_and(|now| now >= until)
    }

    /// Forgets what the last compilation did not use.
    pub(crate) fn sweep(&mut self) {
        self.files.sweep();
        self.tools.sweep();
        self.rules.sweep();
        self.checks.sweep();
        self.slices.sweep();
    }
}

/// The names of tools that stand for what nobody declared are not given away.
fn forbid_reserved(all: &[Declared], report: &mut Report) {
    for one in all {
        let api = one.tool.name.as_str().split('.').next();
        if api == Some(observed::API) {
            let message = format!(
                "`{}` is the name of requests that no tool declares",
                one.tool.name
            );
            report
                .at(&one.source, one.name_at.clone(), message)
                .help("give the API another name");
        }
    }
}

impl Tools {
    /// Reads files without remembering anything.
    pub(crate) fn read_anew(sources: &[Source], report: &mut Report) -> Self {
        let all = sources
            .iter()
            .flat_map(|source| declare::read(source, report))
            .collect();
        let texts: Vec<&str> = sources.iter().map(|source| &*source.text).collect();
        Self::join(key(&texts), all, report)
    }

    fn join(digest: Digest, all: Vec<Declared>, report: &mut Report) -> Self {
        let mut by_name: BTreeMap<ToolName, Arc<Tool>> = BTreeMap::new();
        for one in &all {
            if by_name
                .insert(one.tool.name.clone(), Arc::clone(&one.tool))
                .is_some()
            {
                let problem = report.at(
                    &one.source,
                    one.name_at.clone(),
                    format!("a second tool `{}`", one.tool.name),
                );
                problem.help("the full name, with the name of the API in front, has to be unique");
            }
        }
        let routes = Routes::build(&all, report);
        let list: Vec<Arc<Tool>> = by_name.values().cloned().collect();
        let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        groups.insert("*".to_owned(), Vec::new());
        for (index, tool) in list.iter().enumerate() {
            for group in groups_of(tool) {
                groups.entry(group).or_default().push(index);
            }
        }
        Self {
            digest,
            all: Arc::new(all),
            by_name: Arc::new(by_name),
            routes: Arc::new(routes),
            list: Arc::new(list),
            groups: Arc::new(groups),
        }
    }

    /// The index of the tool with this name.
    pub(crate) fn index(&self, name: &str) -> Option<usize> {
        self.list
            .binary_search_by(|tool| tool.name.as_str().cmp(name))
            .ok()
    }
}

/// The digest of some texts, each with its length in front.
pub(crate) fn key(texts: &[&str]) -> Digest {
    let mut builder = DigestBuilder::new();
    for text in texts {
        builder.update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        builder.update(text.as_bytes());
    }
    builder.finish()
}

/// Values of which those that were used since the last sweep survive the next one.
pub(crate) struct Kept<V> {
    used: HashMap<Digest, V>,
    unused: HashMap<Digest, V>,
}

impl<V> Default for Kept<V> {
    fn default() -> Self {
        Self {
            used: HashMap::new(),
            unused: HashMap::new(),
        }
    }
}

impl<V: Clone> Kept<V> {
    pub(crate) fn find(&mut self, key: &Digest) -> Option<V> {
        if let Some(value) = self.unused.remove(key) {
            self.used.insert(*key, value);
        }
        self.used.get(key).cloned()
    }

    pub(crate) fn keep(&mut self, key: Digest, value: V) {
        self.used.insert(key, value);
    }

    fn sweep(&mut self) {
        self.unused = std::mem::take(&mut self.used);
    }
}
