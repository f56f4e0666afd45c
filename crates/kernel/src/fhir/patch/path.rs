//! Paths of a FHIRPath Patch: which elements they lead to, and where those stand.
//!
//! A FHIRPath expression gives values; a patch has to know their places. So a path is followed step by step: names of elements,
//! indexes, and functions that select (`where`, `extension`, `ofType`, `as`, `first`, `last`, `single`). What stands in `where(...)`
//! is any FHIRPath that is evaluated here.

use super::elements::{Element, Step, elements, inside};
use crate::fhir::definitions::{Property, TypeDefinition, resource_type};
use crate::fhir::json::Value;
use crate::fhirpath::{Environment, Expression, Focus, Item};
use bumpalo::Bump;

/// A path whose form has been checked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Path {
    steps: Vec<Select>,
}

#[derive(Clone, Debug, PartialEq)]
enum Select {
    /// An element, or at the beginning the resource's type.
    Name(String),
    Index(usize),
    /// FHIRPath, compiled when it is evaluated.
    Where(String),
    OfType(String),
    First,
    Last,
    Single,
}

/// An element that a path leads to, and how.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    /// None: the resource itself.
    pub(super) steps: Vec<Step>,
    pub(super) element: Element<'a>,
    /// What its own elements are in.
    pub(super) object: Value<'a>,
    pub(super) definition: &'static TypeDefinition,
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut steps = Vec::new();
        for part in split(text, '.').ok_or("its brackets or quotes do not close")? {
            let (before, indexes) = part.split_at(indexes_at(part));
            let selected = select(before.trim())?;
            if before.trim_start().starts_with("extension(") {
                steps.push(Select::Name("extension".to_owned())); // extension('url') is extension.where(url = 'url')
            }
            steps.push(selected);
            for index in indexes.split(']').map(str::trim).filter(|index| !index.is_empty()) {
                let number = index.strip_prefix('[').and_then(|n| n.trim().parse().ok());
                steps.push(Select::Index(number.ok_or("an index is a number: `name[0]`")?));
            }
        }
        Ok(Self { steps })
    }

    /// The path without its last step, and the name that this is; none if it is no name.
    pub(super) fn list(&self) -> Option<(Self, &str)> {
        match self.steps.split_last() {
            Some((Select::Name(name), before)) => Some((Self { steps: before.to_vec() }, name)),
            _ => None,
        }
    }

    /// The elements that it leads to in a resource, in order.
    ///
    /// # Errors
    /// What of it makes no sense on this resource.
    pub(super) fn follow<'a>(&self, resource: Value<'a>, arena: &'a Bump) -> Result<Vec<Node<'a>>, String> {
        let name = resource.str("resourceType").unwrap_or_default();
        let mut nodes = vec![Node::root(resource).ok_or("the resource is of no type that R4 has")?];
        for (n, step) in self.steps.iter().enumerate() {
            nodes = match step {
                Select::Name(given) if n == 0 && (given == name || matches!(given.as_str(), "Resource" | "DomainResource")) => nodes,
                Select::Name(given) => {
                    let mut all = Vec::new();
                    for node in &nodes {
                        node.children(given, arena, &mut all)?;
                    }
                    all
                }
                Select::Index(index) => nodes.into_iter().skip(*index).take(1).collect(),
                Select::First => nodes.into_iter().take(1).collect(),
                Select::Last => nodes.pop().into_iter().collect(),
                Select::Single if nodes.len() > 1 => return Err("single() finds more than one element".to_owned()),
                Select::Single => nodes,
                Select::OfType(wanted) => nodes.into_iter().filter(|node| node.is_of(wanted)).collect(),
                Select::Where(criterion) => selected(nodes, criterion, resource, arena)?,
            };
        }
        Ok(nodes)
    }
}

/// The elements for which a criterion is true.
fn selected<'a>(nodes: Vec<Node<'a>>, criterion: &str, resource: Value<'a>, arena: &'a Bump) -> Result<Vec<Node<'a>>, String> {
    let expression = Expression::compile(criterion, &Environment::default()).map_err(|e| format!("in where(): {e}"))?;
    let mut kept = Vec::new();
    for node in nodes {
        let context = Some(node.element.value).filter(|value| *value != Value::Null).map(Item::element);
        let focus = Focus { resource, context, row_index: 0, arena };
        let result = expression.single(&focus).map_err(|e| format!("in where(): {e}"))?;
        if result.and_then(Item::as_boolean) == Some(true) {
            kept.push(node);
        }
    }
    Ok(kept)
}

impl<'a> Node<'a> {
    /// The resource.
    fn root(resource: Value<'a>) -> Option<Self> {
        let definition = resource_type(resource.str("resourceType")?)?;
        Some(Self { steps: Vec::new(), element: Element { value: resource, sibling: Value::Null }, object: resource, definition })
    }

    /// What it stands in; none for the resource itself.
    pub(super) fn parent(&self, resource: Value<'a>, arena: &'a Bump) -> Option<Self> {
        let (_, before) = self.steps.split_last()?;
        before.iter().try_fold(Self::root(resource)?, |node, step| {
            let element = *elements(node.object, step.property, arena).get(step.index)?;
            let (object, definition) = inside(step.property, element)?;
            Some(Self { steps: node.steps.into_iter().chain([step.clone()]).collect(), element, object, definition })
        })
    }

    fn children(&self, name: &str, arena: &'a Bump, all: &mut Vec<Node<'a>>) -> Result<(), String> {
        for property in properties(self.definition, name)? {
            for (index, element) in elements(self.object, property, arena).into_iter().enumerate() {
                if let Some((object, definition)) = inside(property, element) {
                    let steps = self.steps.iter().cloned().chain([Step { property, index }]).collect();
                    all.push(Node { steps, element, object, definition });
                }
            }
        }
        Ok(())
    }

    /// Whether it is of a type: that of its choice, or of a contained resource.
    fn is_of(&self, wanted: &str) -> bool {
        let wanted = wanted.rsplit('.').next().unwrap_or(wanted).trim_matches('`');
        let by_name = self.steps.last().is_some_and(|step| {
            let (name, count) = (step.property.name, wanted.len());
            let suffix = name.len().checked_sub(count).and_then(|at| name.get(at..));
            suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case(wanted) && suffix.starts_with(|c: char| c.is_ascii_uppercase()))
        });
        self.definition.name() == wanted || by_name
    }
}

/// The JSON properties of an element: several if it is a choice.
///
/// # Errors
/// The type has no such element.
pub(super) fn properties(definition: &'static TypeDefinition, name: &str) -> Result<Vec<&'static Property>, String> {
    let found: Vec<&Property> = match definition.element(name) {
        Some(element) => element.variants.iter().filter_map(|(name, _)| definition.property(name)).collect(),
        None => definition.property(name).into_iter().filter(|property| property.name != "resourceType").collect(),
    };
    if found.is_empty() { Err(format!("{} has no such element", definition.name())) } else { Ok(found) }
}

fn select(part: &str) -> Result<Select, String> {
    let delimited = part.strip_prefix('`').and_then(|part| part.strip_suffix('`'));
    let name = delimited.unwrap_or(part);
    if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Ok(Select::Name(name.to_owned()));
    }
    let (function, arguments) = part.strip_suffix(')').and_then(|part| part.split_once('(')).unwrap_or((part, ""));
    let arguments = arguments.trim();
    match (function.trim(), arguments.is_empty()) {
        ("where", false) => Ok(Select::Where(arguments.to_owned())),
        ("extension", false) => Ok(Select::Where(format!("url = {arguments}"))),
        ("ofType" | "as", false) => Ok(Select::OfType(arguments.to_owned())),
        ("first", true) => Ok(Select::First),
        ("last", true) => Ok(Select::Last),
        ("single", true) => Ok(Select::Single),
        _ => Err("a path of a patch is made of names of elements, indexes, where(), extension(), ofType(), as(), first(), last() and \
                  single(), such as `Patient.name.where(use = 'official').given[0]`"
            .to_owned()),
    }
}

/// Where the indexes behind a name or a function begin.
fn indexes_at(part: &str) -> usize {
    let from = part.rfind(')').map_or(0, |at| at + 1);
    part.get(from..).and_then(|rest| rest.find('[')).map_or(part.len(), |at| from + at)
}

/// Splits at a character that stands outside of brackets and quotes; none if those do not close.
fn split(text: &str, at: char) -> Option<Vec<&str>> {
    let (mut parts, mut from, mut depth, mut quote) = (Vec::new(), 0, 0_usize, None);
    let mut characters = text.char_indices();
    while let Some((n, c)) = characters.next() {
        match (c, quote) {
            ('\\', Some(_)) => _ = characters.next(),
            (c, Some(open)) if c == open => quote = None,
            (_, Some(_)) => {}
            ('\'' | '"' | '`', None) => quote = Some(c),
            ('(' | '[' | '{', None) => depth += 1,
            (')' | ']' | '}', None) => depth = depth.checked_sub(1)?,
            (c, None) if c == at && depth == 0 => {
                parts.push(text.get(from..n)?);
                from = n + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(text.get(from..)?);
    (depth == 0 && quote.is_none()).then_some(parts)
}
