//! The start page of a database that is served: what it is and where its interfaces are. It shows no live number, since a
//! count that anyone can watch would time a single patient.

use super::{assets, layout};
use axum::Router;
use axum::routing::get;
use maud::{Markup, html};

/// `/` and the files it needs.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    assets::secured(Router::new().route("/", get(async || page())).merge(assets::routes()))
}

fn page() -> Markup {
    let people: [(&str, &str, &str); 2] = [
        ("/me", "Your own page", "for patients: who has read your data, opting out, your consents"),
        ("/public-register", "The public register", "applications, decisions, permits, published results"),
    ];
    let interfaces: [(&str, &str, &str); 5] = [
        ("/fhir/metadata", "CapabilityStatement", "what the FHIR R4 interface can do"),
        ("/openapi.json", "OpenAPI", "every endpoint: FHIR, SQL, permits, audit"),
        ("/audit/checkpoint", "Audit checkpoint", "the signed head of the log of every access; anyone may verify it"),
        ("/permits", "Permits", "yours, with your token"),
        ("/healthz", "Health", "whether this server answers"),
    ];
    layout::page(
        "Dugnad",
        false,
        None,
        &html! {
            main.start #content {
                h1 { (layout::wordmark()) "Dugnad" }
                p.lead { "The common database of a national centre for clinical studies." }
                p {
                    "Hospitals send HL7 FHIR as they treat. Public authorities and the health industry read it, each within a permit, "
                    "from the moment the hospital’s write is acknowledged. Every access is on record before its first byte leaves."
                }
                h2 { "For people" }
                (places(&people))
                h2 { "Interfaces" }
                (places(&interfaces))
                h2 { "Why there are no numbers here" }
                p {
                    "A public count that changes as patients are treated tells when a single one was. What this database publishes is "
                    "released by calendar; what is live is read with a token and a permit."
                }
            }
        },
    )
}

fn places(places: &[(&str, &str, &str)]) -> Markup {
    html! {
        ul.places {
            @for (href, name, what) in places {
                li { a href=(href) { (name) } " " code { (href) } span { (what) } }
            }
        }
    }
}
