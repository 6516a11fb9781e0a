//! What the body says beyond its schema: which of several tools on one path is meant, and what a protocol inside it asks for.
//!
//! INVARIANT: [`Found::check`] refuses a body that belongs to another tool, so that forgetting [`Found::settle`] refuses
//! too much and never too little.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;

use crate::{
    Arguments, BodyNeed, Found, Request, Tool, Violation,
    check::{Read, read_body},
    graphql::{self, Detail, Operation},
    llm,
    tool::BodyRule,
};

/// Why a request belongs to no tool, although there are tools on its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsettled {
    /// None of them takes what the body asks for; a sentence that says what that is.
    Unknown(String),
    /// The body cannot be read.
    Invalid(Vec<Violation>),
}

/// What was found inside a body.
#[derive(Default)]
pub(crate) struct Inside {
    /// Arguments for rules, by section.
    pub(crate) sections: Vec<(&'static str, Value)>,
    /// What is sent instead.
    pub(crate) body: Option<Vec<u8>>,
}

impl Found {
    /// Whether the body has to be read first: what the tool says, or the most that one of several takes.
    pub fn body_need(&self) -> BodyNeed {
        let size = |tool: &Arc<Tool>| match tool.body_need {
            BodyNeed::Whole { bytes_max } => bytes_max,
            BodyNeed::Streamed => 0,
        };
        match self
            .beside
            .iter()
            .flat_map(|all| all.iter())
            .map(size)
            .max()
        {
            Some(bytes_max) => BodyNeed::Whole { bytes_max },
            None => self.tool.body_need,
        }
    }

    /// Looks into the body for the tool that is meant, where several share a path.
    ///
    /// # Errors
    /// When the body belongs to none of them.
    pub fn settle(self, request: &Request<'_>) -> Result<Self, Unsettled> {
        if self.tool.graphql.is_none() {
            return Ok(self);
        }
        let mut wrong = Vec::new();
        let body = match read_body(&self.tool, request, &mut wrong) {
            Read::Json(body) if wrong.is_empty() => body,
            _ => return Err(Unsettled::Invalid(wrong)),
        };
        let asked = graphql::read(&body, Detail::Fields).map_err(|problem| {
            Unsettled::Invalid(vec![Violation::new("body", problem.to_string())])
        })?;
        let owner = graphql::owner(self.tools(), asked.operation, &asked.fields);
        let owner = Arc::clone(owner.map_err(Unsettled::Unknown)?);
        let sent = match request.body {
            crate::Body::Whole(bytes) => bytes.len(),
            crate::Body::Absent | crate::Body::Streamed => 0,
        };
        match owner.body_need {
            BodyNeed::Whole { bytes_max } if sent > bytes_max => {
                let problem = format!("this tool takes at most {bytes_max} bytes");
                Err(Unsettled::Invalid(vec![Violation::new("body", problem)]))
            }
            BodyNeed::Whole { .. } | BodyNeed::Streamed => Ok(Self {
                tool: owner,
                ..self
            }),
        }
    }

    /// The tool that arguments belong to which were read before, perhaps under other declarations.
    pub fn settle_again(self, arguments: &Arguments) -> Option<Self> {
        if self.tool.graphql.is_none() {
            return Some(self);
        }
        let asked = arguments.value.get("graphql")?;
        let word = asked.get("operation")?.as_str()?;
        let (_, operation) = Operation::NAMED.iter().find(|(name, _)| *name == word)?;
        let fields = asked.get("fields")?.as_array()?.iter();
        let fields: Option<BTreeSet<String>> = fields
            .map(|field| field.as_str().map(str::to_owned))
            .collect();
        let owner = graphql::owner(self.tools(), *operation, &fields?).ok()?;
        let tool = Arc::clone(owner);
        Some(Self { tool, ..self })
    }

    fn tools(&self) -> &[Arc<Tool>] {
        match &self.beside {
            Some(all) => all,
            None => std::slice::from_ref(&self.tool),
        }
    }

    /// Reads the protocol inside a body. What is taken out of it, or put in its place for the schema, is changed in `body`.
    pub(crate) fn look_inside(&self, body: &mut Read, wrong: &mut Vec<Violation>) -> Inside {
        let mut inside = Inside::default();
        let Read::Json(value) = body else {
            return inside;
        };
        if let BodyRule::GraphQl(detail) = self.tool.input.body {
            match self.graphql(value, detail) {
                Ok((asked, arguments)) => {
                    inside.sections.push(("graphql", asked));
                    *body = arguments.map_or(Read::Nothing, Read::Json);
                }
                Err(problem) => wrong.push(Violation::new("body", problem)),
            }
        } else if let Some(rules) = &self.tool.llm {
            match llm::examine(rules, value) {
                Ok(said) => {
                    inside.sections.push(("llm", said.arguments));
                    inside.body = said.trimmed.then(|| value.to_string().into_bytes());
                }
                Err(violations) => wrong.extend(violations),
            }
        }
        inside
    }

    fn graphql(&self, body: &Value, detail: Detail) -> Result<(Value, Option<Value>), String> {
        let mut asked = graphql::read(body, detail).map_err(|problem| problem.to_string())?;
        let owner = graphql::owner(self.tools(), asked.operation, &asked.fields)?;
        if owner.name != self.tool.name {
            return Err(format!("this belongs to `{}`", owner.name));
        }
        let arguments = asked.arguments.take();
        Ok((asked.to_value(), arguments))
    }
}
