//! The compiled policy: immutable, shared, replaced as a whole.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use exeat_types::{
    AgentId, CredentialId, Digest, DigestBuilder, Host, Origin, Report, Source, Timestamp,
    ToolName, did_you_mean,
};
use http::Method;

use crate::{
    Cache, Decision, Exec, Found, Local, NotFound, Question, RiskRules, Tool,
    declare::Declared,
    engine::Engine,
    limits::{self, Limits},
    observed, risk,
    route::Routes,
};

/// What the rest of the configuration says exists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct World {
    /// Every agent, with its groups.
    pub agents: BTreeMap<AgentId, Vec<String>>,
    /// Every credential, with the origins it is bound to.
    pub credentials: BTreeMap<CredentialId, Vec<Origin>>,
}

/// The texts a policy is made of.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `tools/*.toml`.
    pub tools: Vec<Source>,
    /// `policy.toml`.
    pub policy: Vec<Source>,
    /// `*.cedar`, added as they stand.
    pub cedar: Vec<Source>,
}

/// Everything that decides, compiled.
pub struct Policy {
    digest: Digest,
    tools: Arc<BTreeMap<ToolName, Arc<Tool>>>,
    routes: Arc<Routes>,
    engine: Engine,
    made_of: Arc<(Sources, World)>,
    risk: RiskRules,
    limits: Limits,
}

impl Policy {
    /// Compiles the texts.
    ///
    /// # Errors
    /// Every problem in every file, with its place.
    pub fn compile(sources: &Sources, world: &World) -> Result<Self, Report> {
        Self::compile_with(&mut Cache::default(), sources, world)
    }

    /// Compiles the texts as they are in force at a moment: without the rules that are over by then.
    ///
    /// # Errors
    /// Every problem in every file, with its place.
    pub fn compile_at(now: Timestamp, sources: &Sources, world: &World) -> Result<Self, Report> {
        let mut cache = Cache::default();
        cache.at(now);
        Self::compile_with(&mut cache, sources, world)
    }

    /// Compiles the texts, and takes from the cache what did not change since it was last used.
    ///
    /// # Errors
    /// Every problem in every file, with its place. The cache stays usable.
    pub fn compile_with(
        cache: &mut Cache,
        sources: &Sources,
        world: &World,
    ) -> Result<Self, Report> {
        let mut report = Report::new();
        let declared = cache.read_tools(&sources.tools, &mut report);
        for one in &*declared.all {
            check_credential(one, world, &mut report);
            check_agent(one, world, &mut report);
        }
        let engine = Engine::compile(cache, sources, world, &declared, &mut report);
        let risk = risk::read(&sources.policy, &mut report);
        let limits = limits::read(&sources.policy, world, &declared, &mut report);
        let Some(engine) = engine.filter(|_| report.is_empty()) else {
            return Err(report);
        };
        cache.sweep();
        let digest = digest(sources, world);
        Ok(Self {
            digest,
            tools: declared.by_name,
            routes: declared.routes,
            engine,
            made_of: Arc::new((sources.clone(), world.clone())),
            risk,
            limits,
        })
    }

    /// What this policy is, as one digest over its texts and the world they were compiled for.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The texts it was compiled from, and the world they were compiled for.
    pub fn made_of(&self) -> (&Sources, &World) {
        (&self.made_of.0, &self.made_of.1)
    }

    /// The tool that stands for a request which no tool declares, while its agent is observed.
    ///
    /// Rules that forbid or ask hold for it; see [`crate::Silence`] for what else its decision means.
    pub fn observed(&self, method: &Method) -> Option<Found> {
        let tool = observed::TOOLS.by_name.get(&*observed::name_of(method))?;
        Some(Found {
            tool: Arc::clone(tool),
            params: Vec::new(),
            misread: Vec::new(),
            beside: None,
        })
    }

    /// Every tool, by name.
    pub fn tools(&self) -> impl Iterator<Item = &Tool> {
        self.tools.values().map(|tool| &**tool)
    }

    /// The tool with this name.
    pub fn tool(&self, name: &str) -> Option<&Arc<Tool>> {
        self.tools.get(name)
    }

    /// The tool that takes this method on this canonical path.
    ///
    /// # Errors
    /// When there is none; says how near the request came.
    pub fn find(&self, method: &Method, origin: &Origin, path: &str) -> Result<Found, NotFound> {
        self.routes.find(method, origin, path)
    }

    /// The tools of an origin whose templates are nearest to a path, best first.
    pub fn nearest(&self, origin: &Origin, path: &str, most: usize) -> Vec<Arc<Tool>> {
        self.routes.nearest(origin, path, most)
    }

    /// Whether some tool names this host; port 0 stands for any.
    pub fn knows_host(&self, host: &Host, port: u16) -> bool {
        self.routes.knows_host(host, port)
    }

    /// Decides a call. Whatever goes wrong in here is a deny.
    pub fn decide(&self, question: &Question<'_>) -> Decision {
        self.engine.decide(question)
    }

    /// What each signal of risk weighs, and when somebody is asked.
    pub const fn risk(&self) -> &RiskRules {
        &self.risk
    }

    /// What agents may use at most.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// When the first of its rules is over.
    pub fn next_end(&self) -> Option<Timestamp> {
        let all = self.engine.compiled().iter();
        all.filter_map(|compiled| compiled.until).min()
    }

    /// How many rules there are.
    pub fn rule_count(&self) -> usize {
        self.engine.compiled().len()
    }

    /// What the rules compiled to, as Cedar.
    pub fn cedar_text(&self) -> String {
        self.engine.cedar_text()
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }
}

/// A tool's credentials have to exist and be bound to the tool's origin.
fn check_credential(declared: &Declared, world: &World, report: &mut Report) {
    for (id, at) in &declared.credentials_at {
        check_one_credential(declared, world, (id, at), report);
    }
}

fn check_one_credential(
    declared: &Declared,
    world: &World,
    (id, at): (&CredentialId, &Range<usize>),
    report: &mut Report,
) {
    let Some(origins) = world.credentials.get(id) else {
        let problem = report.at(
            &declared.source,
            at.clone(),
            format!("unknown credential `{id}`"),
        );
        problem.label("not defined in [credentials]");
        let near = did_you_mean(
            id.as_str(),
            world.credentials.keys().map(CredentialId::as_str),
        );
        near.map(|near| problem.help(format!("did you mean `{near}`?")));
        return;
    };
    if !origins.contains(&declared.tool.origin) {
        let message = format!(
            "the credential `{id}` is not bound to {}",
            declared.tool.origin
        );
        let bound: Vec<String> = origins.iter().map(ToString::to_string).collect();
        let problem = report.at(&declared.source, at.clone(), message);
        problem.help(format!("it is bound to: {}", bound.join(", ")));
    }
}

/// A program asks on the network as an agent that there is.
fn check_agent(declared: &Declared, world: &World, report: &mut Report) {
    let Some(Local::Exec(Exec {
        agent: Some(agent), ..
    })) = &declared.tool.local
    else {
        return;
    };
    if world.agents.contains_key(agent) {
        return;
    }
    let message = format!("the program asks as the unknown agent `{agent}`");
    let problem = report.at(&declared.source, declared.name_at.clone(), message);
    let near = did_you_mean(agent.as_str(), world.agents.keys().map(AgentId::as_str));
    near.map(|near| problem.help(format!("did you mean `{near}`?")));
}

/// Every text and name with its length in front, so that no two policies run together.
fn digest(sources: &Sources, world: &World) -> Digest {
    let mut builder = DigestBuilder::new();
    let mut add = |text: &str| {
        builder.update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        builder.update(text.as_bytes());
    };
    for (kind, texts) in [
        ("tools", &sources.tools),
        ("policy", &sources.policy),
        ("cedar", &sources.cedar),
    ] {
        add(kind);
        add(&texts.len().to_string());
        for source in texts {
            add(&source.name);
            add(&source.text);
        }
    }
    for (agent, groups) in &world.agents {
        add("agent");
        add(agent.as_str());
        add(&groups.len().to_string());
        groups.iter().for_each(|group| add(group));
    }
    for (credential, origins) in &world.credentials {
        add("credential");
        add(credential.as_str());
        add(&origins.len().to_string());
        origins.iter().for_each(|origin| add(&origin.to_string()));
    }
    builder.finish()
}
