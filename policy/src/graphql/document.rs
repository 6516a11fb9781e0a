//! From the text of a document to what its operations select.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use apollo_parser::{
    Parser,
    cst::{
        CstNode as _, Definition, Directives, Field, Name, OperationDefinition, Selection,
        SelectionSet,
    },
};
use exeat_types::Malformed;

use super::{Asked, DEPTH_MAX, Operation, TOKENS_MAX, wrong};

/// Characters that some servers take for the end of a line, so that a comment would end there.
const ODD_LINE_ENDS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

/// A document whose names are unique.
pub(super) struct Document {
    pub(super) operations: Vec<OperationDefinition>,
    names: BTreeSet<String>,
    fragments: BTreeMap<String, SelectionSet>,
}

/// What an operation selects, and the fields at its top.
pub(super) struct Walked {
    pub(super) asked: Asked,
    pub(super) tops: Vec<Field>,
}

/// Parses a document that holds only operations and fragments.
pub(super) fn parse(text: &str) -> Result<Document, Malformed> {
    if text.contains(ODD_LINE_ENDS) {
        return Err(wrong(
            "an unusual line separator; send such text in a variable",
        ));
    }
    let tree = Parser::new(text)
        .recursion_limit(DEPTH_MAX)
        .token_limit(TOKENS_MAX)
        .parse();
    if let Some(error) = tree.errors().next() {
        let said = crate::wire::shorten(error.message());
        return Err(wrong(format!("the document does not parse: {said}")));
    }
    let mut document = Document {
        operations: Vec::new(),
        names: BTreeSet::new(),
        fragments: BTreeMap::new(),
    };
    for definition in tree.document().definitions() {
        document.add(definition)?;
    }
    if document.operations.is_empty() {
        return Err(wrong("the document has no operation"));
    }
    if document.operations.len() > 1 && document.names.len() < document.operations.len() {
        return Err(wrong("several operations, and one of them has no name"));
    }
    Ok(document)
}

impl Document {
    fn add(&mut self, definition: Definition) -> Result<(), Malformed> {
        match definition {
            Definition::OperationDefinition(operation) => {
                if let Some(name) = operation.name()
                    && !self.names.insert(text_of(&name)?)
                {
                    return Err(wrong("two operations have the same name"));
                }
                self.operations.push(operation);
            }
            Definition::FragmentDefinition(fragment) => {
                let name = fragment.fragment_name().and_then(|name| name.name());
                let set = fragment.selection_set();
                let (Some(name), Some(set)) = (name, set) else {
                    return Err(wrong("a fragment without a name or a selection"));
                };
                if self.fragments.insert(text_of(&name)?, set).is_some() {
                    return Err(wrong("two fragments have the same name"));
                }
            }
            _ => {
                return Err(wrong(
                    "only operations and fragments stand in a document that is sent",
                ));
            }
        }
        Ok(())
    }

    /// The names of the operations.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Everything that one operation selects.
    pub(super) fn walk(&self, operation: &OperationDefinition) -> Result<Walked, Malformed> {
        let kind = match operation.operation_type() {
            None => Operation::Query,
            Some(word) if word.query_token().is_some() => Operation::Query,
            Some(word) if word.mutation_token().is_some() => Operation::Mutation,
            Some(word) if word.subscription_token().is_some() => Operation::Subscription,
            Some(_) => return Err(wrong("an operation of an unknown kind")),
        };
        let set = operation
            .selection_set()
            .ok_or_else(|| wrong("an operation without a selection"))?;
        let mut walk = Walk {
            document: self,
            open: Vec::new(),
            heights: HashMap::new(),
            walked: Walked {
                asked: Asked {
                    operation: kind,
                    names: BTreeSet::new(),
                    fields: BTreeSet::new(),
                    selects: BTreeSet::new(),
                    directives: BTreeSet::new(),
                    depth: 0,
                    count: 1,
                    arguments: None,
                },
                tops: Vec::new(),
            },
        };
        if let Some(name) = operation.name() {
            walk.walked.asked.names.insert(text_of(&name)?);
        }
        walk.directives(operation.directives().as_ref())?;
        let variables = operation.variable_definitions();
        for variable in variables.iter().flat_map(|all| all.variable_definitions()) {
            walk.directives(variable.directives().as_ref())?;
        }
        walk.walked.asked.depth = walk.visit(&set, 1, Level::Top)?;
        Ok(walk.walked)
    }
}

/// Where a selection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Level {
    /// Its fields are those of the operation itself.
    Top,
    Below,
}

struct Walk<'d> {
    document: &'d Document,
    /// Fragments that are being visited.
    open: Vec<String>,
    /// Fragments that were visited, and how deep they go.
    heights: HashMap<(String, Level), usize>,
    walked: Walked,
}

impl Walk<'_> {
    /// Visits a selection, each fragment once, and says how deep it goes.
    fn visit(
        &mut self,
        set: &SelectionSet,
        depth: usize,
        level: Level,
    ) -> Result<usize, Malformed> {
        if depth > DEPTH_MAX {
            return Err(wrong("the document is nested too deeply"));
        }
        let mut height = 0;
        for selection in set.selections() {
            let below = match selection {
                Selection::Field(field) => self.field(field, depth, level)?,
                Selection::FragmentSpread(spread) => {
                    self.directives(spread.directives().as_ref())?;
                    let name = spread.fragment_name().and_then(|name| name.name());
                    let name = name.ok_or_else(|| wrong("a fragment without a name"))?;
                    self.spread(text_of(&name)?, depth, level)?
                }
                Selection::InlineFragment(inline) => {
                    self.directives(inline.directives().as_ref())?;
                    let inner = inline.selection_set();
                    let inner = inner.ok_or_else(|| wrong("a fragment without a selection"))?;
                    self.visit(&inner, depth.saturating_add(1), level)?
                }
            };
            height = height.max(below);
        }
        // A fragment that was visited elsewhere is not visited again, so this can be more than the depth here.
        if height > DEPTH_MAX {
            return Err(wrong("the document is nested too deeply"));
        }
        Ok(height)
    }

    fn field(&mut self, field: Field, depth: usize, level: Level) -> Result<usize, Malformed> {
        let name = field
            .name()
            .ok_or_else(|| wrong("a field without a name"))?;
        let name = text_of(&name)?;
        if level == Level::Top {
            self.walked.asked.fields.insert(name.clone());
        }
        self.walked.asked.selects.insert(name);
        self.directives(field.directives().as_ref())?;
        let below = match field.selection_set() {
            Some(inner) => self.visit(&inner, depth.saturating_add(1), Level::Below)?,
            None => 0,
        };
        if level == Level::Top {
            self.walked.tops.push(field);
        }
        Ok(below.saturating_add(1))
    }

    fn spread(&mut self, name: String, depth: usize, level: Level) -> Result<usize, Malformed> {
        if self.open.contains(&name) {
            return Err(wrong("fragments form a circle"));
        }
        if let Some(height) = self.heights.get(&(name.clone(), level)) {
            return Ok(*height);
        }
        let document = self.document;
        let set = document.fragments.get(&name);
        let set = set.ok_or_else(|| wrong("a fragment that is not in the document"))?;
        self.open.push(name.clone());
        let height = self.visit(set, depth.saturating_add(1), level)?;
        self.open.pop();
        self.heights.insert((name, level), height);
        Ok(height)
    }

    fn directives(&mut self, all: Option<&Directives>) -> Result<(), Malformed> {
        for directive in all.into_iter().flat_map(Directives::directives) {
            let name = directive.name();
            let name = name.ok_or_else(|| wrong("a directive without a name"))?;
            self.walked.asked.directives.insert(text_of(&name)?);
        }
        Ok(())
    }
}

/// The text of a name, which is one.
pub(super) fn text_of(name: &Name) -> Result<String, Malformed> {
    let text = name.syntax().text().to_string();
    let text = text.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    match begins && text.chars().all(plain) {
        true => Ok(text.to_owned()),
        false => Err(wrong("a name is not one that GraphQL has")),
    }
}
