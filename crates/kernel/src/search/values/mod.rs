//! The values that a resource has for each search parameter, packed into one text for each version of it.
//!
//! [`packed`] has the form; docs/formats/search-values.md describes it byte by byte.

mod convert;
pub mod packed;
mod references;
#[cfg(test)]
mod tests;

use super::matches::LAST_UPDATED;
use super::parameters::{self, Parameter, TypeParameters};
use super::query::Moments;
use crate::fhir::json::Value as Json;
use crate::fhirpath::Focus;
use bumpalo::Bump;
use packed::{Packer, Tuple};
use sha2::{Digest, Sha256};
use std::ops::ControlFlow;

pub(super) use references::references_of;

/// The version of how values are made of resources and packed. A change that gives other values for the same resource raises it,
/// and every stored table of them is then built anew.
const VALUES: &str = "2";

/// What the packed values depend on.
pub fn fingerprint() -> String {
    let mut hash = Sha256::new();
    hash.update(VALUES);
    hash.update(parameters::TABLE);
    hash.finalize().iter().take(16).map(|b| format!("{b:02x}")).collect()
}

/// One value of a parameter. Texts are as they were sent: they are folded when they are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A code with its system (`""`: none), an identifier's value, a boolean.
    Token {
        /// `Coding.system`, `Identifier.system`, or that of the value set that a code is bound to.
        system: &'a str,
        /// The code; `""` where there is a system only.
        code: &'a str,
    },
    /// An identifier by its type, for `:of-type`.
    OfType {
        /// `Identifier.type.coding.system`
        system: &'a str,
        /// `Identifier.type.coding.code`
        code: &'a str,
        /// `Identifier.value`
        value: &'a str,
    },
    /// Text beside a code or a reference, for `:text`.
    Text(&'a str),
    /// A string.
    String(&'a str),
    /// A reference to a resource of the same holder.
    Reference {
        /// Its type.
        resource_type: &'a str,
        /// Its logical id.
        id: &'a str,
    },
    /// A reference to elsewhere: an absolute URL, a URN, a canonical.
    Url(&'a str),
    /// `Reference.identifier`
    Logical {
        /// Its system, or `""`.
        system: &'a str,
        /// Its value.
        value: &'a str,
    },
    /// A date or a period.
    Date(Moments),
    /// A number, as text.
    Number(&'a str),
    /// A number with a unit.
    Quantity {
        /// `Quantity.comparator`, or `""`.
        comparator: &'a str,
        /// The number, as text.
        value: &'a str,
        /// What it is a number of.
        unit: UnitOf<'a>,
    },
    /// From one number to another, each as text; `""` where it is open.
    Range {
        /// `Range.low`
        low: &'a str,
        /// `Range.high`
        high: &'a str,
        /// What they are numbers of.
        unit: UnitOf<'a>,
    },
    /// A URI.
    Uri(&'a str),
    /// Degrees as text: latitude and longitude.
    Place(&'a str, &'a str),
    /// The components of one element of a composite.
    Tuple(Tuple<'a>),
}

/// The unit of a quantity; `""` for what it lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitOf<'a> {
    /// `Quantity.system`
    pub system: &'a str,
    /// `Quantity.code`
    pub code: &'a str,
    /// `Quantity.unit`: as people write it.
    pub unit: &'a str,
}

/// The values of a resource, packed. `about`: the ids of the Patients of the same holder that its version names.
///
/// A parameter whose expression fails on the resource has no values. That takes a resource which does not fit the definitions.
pub fn values_of<'p>(parameters: &TypeParameters, resource: Json<'_>, about: impl Iterator<Item = &'p str>) -> String {
    let arena = Bump::new();
    let focus = Focus::resource(resource, &arena);
    let mut packer = Packer::default();
    // `_lastUpdated` is the commit's time: what was sent, or stands in the stored JSON, is not looked at.
    let initials = parameters::initials(resource);
    let evaluate = |parameter: &Parameter, packer: &mut Packer| {
        for path in parameter.paths.iter().filter(|path| path.may_yield(resource, initials)) {
            let evaluated = path.expression.each(&focus, &mut |item| {
                convert::parameter(parameter, item, &focus, packer);
                ControlFlow::Continue(())
            });
            if let Err(error) = evaluated {
                tracing::debug!(parameter = parameter.code, resource_type = parameter.resource_type, %error, "no search values");
            }
        }
        packer.end(usize::from(parameter.number));
    };
    parameters.all().iter().filter(|parameter| parameter.code != LAST_UPDATED).for_each(|parameter| evaluate(parameter, &mut packer));
    let mut seen: Vec<&str> = Vec::new();
    for id in about {
        if !seen.contains(&id) {
            seen.push(id);
            packer.push(&Value::Reference { resource_type: "Patient", id });
        }
    }
    packer.end(parameters.about());
    parameters.added().iter().for_each(|parameter| evaluate(parameter, &mut packer));
    packer.finish()
}
