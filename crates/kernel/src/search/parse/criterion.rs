//! A parameter's name: its modifier, chains (`subject:Patient.name`) and `_has`.

use super::super::parameters::{Kind, Parameter};
use super::super::query::{Criterion, Test};
use super::value::Modifier;
use super::{Reader, Refusal, Unused, known, value};
use crate::fhir::definitions;
use crate::fhir::issue::IssueType;
use crate::limits::MAX_SEARCH_DEPTH;

/// How many references a criterion has been led over.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Depth(usize);

impl Depth {
    fn deeper(self) -> Result<Self, Refusal> {
        if self.0 < MAX_SEARCH_DEPTH {
            return Ok(Self(self.0 + 1));
        }
        Err(Refusal::costly(format!("it leads over more than {MAX_SEARCH_DEPTH} references; search in steps")))
    }
}

/// Reads a criterion on resources of a type.
pub(super) fn read(reader: &Reader<'_>, resource_type: &'static str, name: &str, text: &str, depth: Depth) -> Result<Criterion, Unused> {
    reader.budget.take_criterion()?;
    if let Some(rest) = name.strip_prefix("_has:") {
        return has(reader, resource_type, rest, text, depth);
    }
    if let Some((head, rest)) = name.split_once('.') {
        return chain(reader, resource_type, head, rest, text, depth);
    }
    let (code, modifier) = name.split_once(':').map_or((name, None), |(code, modifier)| (code, Some(modifier)));
    let parameter = known(reader.environment.known, resource_type, code)?;
    let test = test(reader, parameter, modifier, text)?;
    Ok(Criterion::Is { parameter, test })
}

fn test(reader: &Reader<'_>, parameter: &'static Parameter, modifier: Option<&str>, text: &str) -> Result<Test, Refusal> {
    let modifier = Modifier::parse(parameter, modifier)?;
    if modifier == Modifier::Missing {
        return match text {
            "true" => Ok(Test::Missing(true)),
            "false" => Ok(Test::Missing(false)),
            _ => Err(Refusal::value("`:missing` is either `true` or `false`")),
        };
    }
    let values = super::text::split(text, ',');
    reader.budget.take_values(values.len())?;
    let operands: Result<Vec<_>, Refusal> =
        values.into_iter().map(|one| value::read(reader.environment, parameter, &modifier, one)).collect();
    Ok(if matches!(modifier, Modifier::Not | Modifier::NotIn) { Test::None(operands?) } else { Test::Any(operands?) })
}

/// `subject:Patient.name=peter`, `subject.name=peter`: without a type, all that the reference may be to and that know the parameter.
fn chain(reader: &Reader<'_>, resource_type: &'static str, head: &str, rest: &str, text: &str, depth: Depth) -> Result<Criterion, Unused> {
    let depth = depth.deeper()?;
    let (code, wanted) = head.split_once(':').map_or((head, None), |(code, wanted)| (code, Some(wanted)));
    let parameter = reference(reader, resource_type, code)?;
    if let Some(wanted) = wanted {
        let target = target_of(parameter, wanted)?;
        let criterion = read(reader, target, rest, text, depth).map_err(|unused| on(target, unused))?;
        return Ok(Criterion::Chain { parameter, of: vec![(target, criterion)] });
    }
    // A type that has no such parameter, or one of another kind, has nothing to find; what is wrong for all of them is wrong.
    let (mut of, mut wrong) = (Vec::new(), None);
    for target in &parameter.targets {
        match read(reader, target, rest, text, depth) {
            Ok(criterion) => of.push((*target, criterion)),
            Err(Unused::Unknown(_)) => {}
            Err(Unused::Wrong(refusal)) if refusal.code == IssueType::TooCostly => return Err(refusal.into()),
            Err(Unused::Wrong(refusal)) => wrong = wrong.or(Some(on(target, Unused::Wrong(refusal)))),
        }
    }
    if of.is_empty() {
        let what = format!("no type that `{code}` may refer to ({}) knows the parameter after the dot", parameter.targets.join(", "));
        return Err(wrong.unwrap_or(Unused::Unknown(Refusal::unsupported(what))));
    }
    Ok(Criterion::Chain { parameter, of })
}

/// `Observation:patient:code`, the part after `_has:`.
fn has(reader: &Reader<'_>, resource_type: &'static str, rest: &str, text: &str, depth: Depth) -> Result<Criterion, Unused> {
    let depth = depth.deeper()?;
    let mut parts = rest.splitn(3, ':');
    let (Some(source), Some(code), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        let what = "expected `_has:Type:reference:parameter`, such as `_has:Observation:patient:code`";
        return Err(Refusal::value(what).into());
    };
    let source = resource_type_of(source)?;
    let reference = reference(reader, source, code)?;
    if !reference.targets.contains(&resource_type) {
        let what = format!("`{code}` of {source} never refers to a {resource_type}, but to {}", reference.targets.join(", "));
        return Err(Refusal::value(what).into());
    }
    let criterion = Box::new(read(reader, source, rest, text, depth).map_err(|unused| on(source, unused))?);
    Ok(Criterion::Has { resource_type: source, reference, criterion })
}

fn reference(reader: &Reader<'_>, resource_type: &'static str, code: &str) -> Result<&'static Parameter, Unused> {
    let parameter = known(reader.environment.known, resource_type, code)?;
    if parameter.kind == Kind::Reference {
        return Ok(parameter);
    }
    let what = format!("`{}` is a {} parameter; only references lead to other resources", parameter.code, parameter.kind.name());
    Err(Refusal::value(what).into())
}

/// A type that is written in a query.
pub(super) fn resource_type_of(name: &str) -> Result<&'static str, Refusal> {
    let found = definitions::resource_type(name).map(|t| t.name());
    found.ok_or_else(|| {
        Refusal::value("it names what is no resource type of FHIR R4; types are written as in `Patient`, `DiagnosticReport`")
    })
}

/// A type that a reference may be to.
pub(super) fn target_of(parameter: &Parameter, name: &str) -> Result<&'static str, Refusal> {
    let target = resource_type_of(name)?;
    if parameter.targets.contains(&target) {
        return Ok(target);
    }
    Err(Refusal::value(format!("`{}` never refers to a {target}, but to {}", parameter.code, parameter.targets.join(", "))))
}

fn on(resource_type: &str, unused: Unused) -> Unused {
    let told = |refusal: Refusal| Refusal { what: format!("on {resource_type}, {}", refusal.what), ..refusal };
    match unused {
        Unused::Unknown(refusal) => Unused::Unknown(told(refusal)),
        Unused::Wrong(refusal) => Unused::Wrong(told(refusal)),
    }
}
