//! The operations of a FHIRPath Patch: `add`, `insert`, `delete`, `replace` and `move`.

use super::elements::{Element, changed, elements, with_elements};
use super::path::{Node, Path, properties};
use super::{Budget, bounded, too_large};
use crate::fhir::definitions::{Property, TypeDefinition, ValueType};
use crate::fhir::issue::{Issue, IssueType};
use crate::fhir::json::{Member, Value};
use bumpalo::Bump;

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Operation<'a> {
    act: Act<'a>,
    path: Path,
}

#[derive(Clone, Debug, PartialEq)]
enum Act<'a> {
    Add(&'a str, Content<'a>),
    Insert(usize, Content<'a>),
    Delete,
    Replace(Content<'a>),
    Move(usize, usize),
}

/// The value of an operation, as its `Parameters.parameter` has it.
#[derive(Clone, Debug, PartialEq)]
enum Content<'a> {
    /// `valueString` is of the type `String`.
    Element(&'a str, Element<'a>),
    /// An element of no named type, from its own elements.
    Parts(&'a [Value<'a>]),
}

/// Reads Parameters that are valid.
pub(super) fn read<'a>(parameters: Value<'a>, arena: &'a Bump) -> Result<Vec<Operation<'a>>, Issue> {
    let all = parameters.get("parameter").unwrap_or(Value::Array(&[]));
    bounded(all.items().len(), "Parameters.parameter")?;
    let read = |(n, parameter): (usize, &Value<'a>)| {
        operation(parameter, arena).map_err(|what| Issue::error(IssueType::Value, format!("Parameters.parameter[{n}]"), what))
    };
    all.items().iter().enumerate().map(read).collect()
}

fn operation<'a>(parameter: &Value<'a>, arena: &'a Bump) -> Result<Operation<'a>, String> {
    if parameter.str("name") != Some("operation") {
        return Err("a FHIRPath Patch has parameters with the name `operation` only".to_owned());
    }
    let parts = parameter.get("part").unwrap_or(Value::Array(&[]));
    let part = |name: &str| parts.items().iter().find(|part| part.str("name") == Some(name));
    let text = |name: &str| part(name).and_then(|part| content(part, arena)).and_then(Content::text);
    let needs = |name: &str| text(name).ok_or_else(|| format!("the operation needs a part `{name}` with a string"));
    let index = |name: &str| {
        let number = part(name).and_then(|part| content(part, arena)).and_then(Content::index);
        number.ok_or_else(|| format!("the operation needs a part `{name}` with an index, counted from 0"))
    };
    let value = || part("value").and_then(|part| content(part, arena)).ok_or("the operation needs a part `value`");
    let act = match text("type") {
        Some("add") => Act::Add(needs("name")?, value()?),
        Some("insert") => Act::Insert(index("index")?, value()?),
        Some("delete") => Act::Delete,
        Some("replace") => Act::Replace(value()?),
        Some("move") => Act::Move(index("source")?, index("destination")?),
        _ => return Err("the operation needs a part `type`: add, insert, delete, replace or move".to_owned()),
    };
    Ok(Operation { act, path: Path::parse(needs("path")?)? })
}

/// What a parameter or part holds.
fn content<'a>(part: &Value<'a>, arena: &'a Bump) -> Option<Content<'a>> {
    if let Some(resource) = part.get("resource") {
        return Some(Content::Element("", Element { value: resource, sibling: Value::Null }));
    }
    if let Some(parts) = part.get("part") {
        return Some(Content::Parts(parts.items()));
    }
    let of = |name: &'a str| name.strip_prefix("value").or_else(|| name.strip_prefix("_value"));
    let suffix = part.members().iter().find_map(|(name, _)| of(name))?;
    let member = |prefix: &str| part.get(arena.alloc_str(&format!("{prefix}{suffix}"))).unwrap_or(Value::Null);
    Some(Content::Element(suffix, Element { value: member("value"), sibling: member("_value") }))
}

impl<'a> Content<'a> {
    fn text(self) -> Option<&'a str> {
        if let Content::Element(_, element) = self { element.value.as_str() } else { None }
    }

    fn index(self) -> Option<usize> {
        match self {
            Content::Element(_, Element { value: Value::Number(text), .. }) => text.parse().ok(),
            _ => None,
        }
    }

    /// The property of a type that it goes into, and the element that it is there.
    fn placed(&self, definition: &'static TypeDefinition, name: &str, arena: &'a Bump) -> Result<(&'static Property, Element<'a>), String> {
        let candidates = properties(definition, name)?;
        let suffix = if let Content::Element(suffix, _) = self { suffix } else { "" };
        let of_type = |p: &&&Property| p.name.strip_prefix(name) == Some(suffix);
        let found = if candidates.len() == 1 { candidates.first() } else { candidates.iter().find(of_type) };
        let property = *found.ok_or_else(|| format!("{}.{name}[x] is never of that type", definition.name()))?;
        let element = match self {
            Content::Element(_, element) => *element,
            Content::Parts(parts) => Element { value: assembled(parts, property, arena)?, sibling: Value::Null },
        };
        Ok((property, element))
    }
}

/// An element made of its parts, each named as its own element.
fn assembled<'a>(parts: &[Value<'a>], property: &Property, arena: &'a Bump) -> Result<Value<'a>, String> {
    let ValueType::Complex(of) = property.value else {
        return Err(format!("`{}` has no elements of its own, so its value cannot come in parts", property.name));
    };
    let no_members: &[Member<'a>] = &[];
    let mut object = Value::Object(no_members);
    for part in parts {
        let name = part.str("name").unwrap_or_default();
        let content = content(part, arena).ok_or_else(|| format!("the part for `{}` has no value", property.name))?;
        let (inner, element) = content.placed(of.definition(), name, arena)?;
        let mut all = elements(object, inner, arena);
        all.push(element);
        if all.len() > 1 && !inner.repeats {
            return Err(format!("{}.{} cannot repeat", of.definition().name(), inner.name));
        }
        object = with_elements(object, inner, &all, arena);
    }
    Ok(object)
}

/// Does the operations one after the other.
pub(super) fn apply<'a>(operations: &[Operation<'a>], resource: Value<'a>, arena: &'a Bump) -> Result<Value<'a>, Issue> {
    let mut budget = Budget::new();
    let mut resource = resource;
    for (n, operation) in operations.iter().enumerate() {
        let at = || format!("Parameters.parameter[{n}]");
        let plan = operation.plan(resource, arena).map_err(|what| Issue::error(IssueType::Invalid, at(), what))?;
        let Some(Plan { node, property, elements, gone }) = plan else { continue };
        let depth = 2 * (node.steps.len() + 1);
        if !elements.iter().all(|e| budget.take(e.value, depth) && budget.take(e.sibling, depth)) {
            return Err(too_large(at()));
        }
        let mut change = |object: Value<'a>| {
            let object = gone.map_or(object, |gone| with_elements(object, gone, &[], arena));
            with_elements(object, property, &elements, arena)
        };
        resource = changed(resource, &node.steps, arena, &mut change);
    }
    Ok(resource)
}

/// What an operation comes to: the elements that a property of an object has after it.
struct Plan<'a> {
    /// The object.
    node: Node<'a>,
    property: &'static Property,
    elements: Vec<Element<'a>>,
    /// The property that it takes the place of: a choice of another type.
    gone: Option<&'static Property>,
}

impl<'a> Plan<'a> {
    fn new(node: Node<'a>, property: &'static Property, elements: Vec<Element<'a>>) -> Self {
        Self { node, property, elements, gone: None }
    }
}

impl<'a> Operation<'a> {
    /// None: there is nothing to do.
    fn plan(&self, resource: Value<'a>, arena: &'a Bump) -> Result<Option<Plan<'a>>, String> {
        match &self.act {
            Act::Add(name, content) => self.add(name, content, resource, arena).map(Some),
            Act::Insert(index, content) => {
                let (node, property, mut elements, name) = self.list(resource, arena)?;
                let (_, element) = content.placed(node.definition, name, arena)?;
                if *index > elements.len() {
                    return Err(format!("the list has {} elements; the index may be that at most", elements.len()));
                }
                elements.insert(*index, element);
                Ok(Some(Plan::new(node, property, elements)))
            }
            Act::Move(source, destination) => {
                let (node, property, mut elements, _) = self.list(resource, arena)?;
                if *source >= elements.len() || *destination >= elements.len() {
                    return Err(format!("the list has {} elements; source and destination must be less", elements.len()));
                }
                let element = elements.remove(*source);
                elements.insert(*destination, element);
                Ok(Some(Plan::new(node, property, elements)))
            }
            Act::Delete => {
                let Some((node, property, index)) = self.one(resource, arena)? else { return Ok(None) };
                let mut elements = elements(node.object, property, arena);
                elements.remove(index);
                Ok(Some(Plan::new(node, property, elements)))
            }
            Act::Replace(content) => {
                let what = "the path leads to no element of the current version of the resource; read it again, or use `add`";
                let (node, property, index) = self.one(resource, arena)?.ok_or(what)?;
                let (new, element) = content.placed(node.definition, node.definition.element_name(property), arena)?;
                if new.name != property.name {
                    return Ok(Some(Plan { gone: Some(property), ..Plan::new(node, new, vec![element]) }));
                }
                let mut elements = elements(node.object, property, arena);
                elements.iter_mut().skip(index).take(1).for_each(|old| *old = element);
                Ok(Some(Plan::new(node, property, elements)))
            }
        }
    }

    fn add(&self, name: &str, content: &Content<'a>, resource: Value<'a>, arena: &'a Bump) -> Result<Plan<'a>, String> {
        let node = only(self.path.follow(resource, arena)?)?.ok_or("the path leads to no element to add to")?;
        let (property, element) = content.placed(node.definition, name, arena)?;
        let mut all = elements(node.object, property, arena);
        let taken = properties(node.definition, name)?.iter().any(|p| !elements(node.object, p, arena).is_empty());
        if taken && !property.repeats {
            return Err(format!("{}.{name} is there and cannot repeat; use `replace`", node.definition.name()));
        }
        all.push(element);
        Ok(Plan::new(node, property, all))
    }

    /// The list that the path names: where it stands and what is in it.
    fn list(&self, resource: Value<'a>, arena: &'a Bump) -> Result<(Node<'a>, &'static Property, Vec<Element<'a>>, &str), String> {
        let (before, name) = self.path.list().ok_or("the path must end in the name of a list, such as `Patient.name`")?;
        let node = only(before.follow(resource, arena)?)?.ok_or("the path leads to no element with such a list")?;
        let property = properties(node.definition, name)?.into_iter().find(|p| p.repeats);
        let property = property.ok_or_else(|| format!("{}.{name} is no list", node.definition.name()))?;
        let all = elements(node.object, property, arena);
        Ok((node, property, all, name))
    }

    /// The one element that the path leads to: what it stands in, and where there.
    fn one(&self, resource: Value<'a>, arena: &'a Bump) -> Result<Option<(Node<'a>, &'static Property, usize)>, String> {
        let Some(node) = only(self.path.follow(resource, arena)?)? else { return Ok(None) };
        let whole = "the whole resource is replaced with PUT and deleted with DELETE";
        let step = node.steps.last().ok_or(whole)?;
        let parent = node.parent(resource, arena).ok_or(whole)?;
        Ok(Some((parent, step.property, step.index)))
    }
}

/// The only one.
fn only(mut nodes: Vec<Node<'_>>) -> Result<Option<Node<'_>>, String> {
    match nodes.len() {
        0 | 1 => Ok(nodes.pop()),
        n => Err(format!("the path leads to {n} elements; it must lead to one: say which with an index or where()")),
    }
}
