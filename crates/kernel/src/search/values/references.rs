//! What a resource refers to, by some of its parameters: for `_include`, which has the resource and not its packed values.

use super::packed::{Packed, Packer};
use super::{Value, convert};
use crate::fhir::json::Value as Json;
use crate::fhirpath::Focus;
use crate::search::parameters::{Parameter, initials};
use bumpalo::Bump;
use std::ops::ControlFlow;

/// The resources of the same holder that these parameters of a resource refer to: their types and logical ids.
pub(in crate::search) fn references_of(parameters: &[&Parameter], resource: Json<'_>) -> Vec<(String, String)> {
    let arena = Bump::new();
    let focus = Focus::resource(resource, &arena);
    let (initials, mut found) = (initials(resource), Vec::new());
    for parameter in parameters {
        let mut packer = Packer::default();
        for path in parameter.paths.iter().filter(|path| path.may_yield(resource, initials)) {
            // Where it fails there are no values, as in `values_of`.
            let _: Result<_, _> = path.expression.each(&focus, &mut |item| {
                convert::parameter(parameter, item, &focus, &mut packer);
                ControlFlow::Continue(())
            });
        }
        packer.end(usize::from(parameter.number));
        let text = packer.finish();
        for value in Packed::new(&text).values(usize::from(parameter.number)) {
            if let Value::Reference { resource_type, id } = value {
                found.push((resource_type.to_owned(), id.to_owned()));
            }
        }
    }
    found
}
