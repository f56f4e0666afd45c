//! Routes and their descriptions, added together.

use super::App;
use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, on};

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Anybody, without a token.
    Anybody,
    /// Whoever has a token.
    Known,
    /// Health data holders.
    Hospital,
    /// The centre.
    Centre,
}

/// A parameter of a route other than those in its path.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// `header` or `query`.
    pub place: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub description: &'static str,
}

/// What a route does, for `/openapi.json` and the CapabilityStatement.
#[derive(Clone, Copy, Debug)]
pub struct Doc {
    /// The operation's id: unique.
    pub id: &'static str,
    /// `FHIR`, `SQL`, `Permits`, `Releases`, `Audit`, `OAuth` or `Operations`.
    pub tag: &'static str,
    /// One line.
    pub summary: &'static str,
    /// The rest, in Markdown.
    pub description: &'static str,
    /// Who may call it.
    pub caller: Caller,
    /// Headers and query parameters.
    pub parameters: &'static [Parameter],
    /// The media type of the request's body, if it has one.
    pub body: Option<&'static str>,
    /// Further media types that the body may have.
    pub other_bodies: &'static [&'static str],
    /// The media types of the good answer; none if it has no body.
    pub answer: &'static [&'static str],
    /// Statuses and what they mean; the first is the good one.
    pub statuses: &'static [(u16, &'static str)],
    /// FHIR's codes of the interactions that it is (restful-interaction).
    pub interactions: &'static [&'static str],
    /// The FHIR operation that it is: its name without `$`, and its definition.
    pub operation: Option<(&'static str, &'static str)>,
}

impl Doc {
    /// A description to start from.
    pub const fn new(tag: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self {
            id,
            tag,
            summary,
            description: "",
            caller: Caller::Anybody,
            parameters: &[],
            body: None,
            other_bodies: &[],
            answer: &[],
            statuses: &[(200, "Done")],
            interactions: &[],
            operation: None,
        }
    }
}

/// A route as it was added.
#[derive(Clone, Debug)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path's template.
    pub path: &'static str,
    /// What it does.
    pub doc: Doc,
}

/// A router under construction, with the descriptions of its routes.
#[derive(Default)]
pub struct Routes {
    router: Router<App>,
    all: Vec<Route>,
}

impl Routes {
    /// Adds a route. `GET` routes answer `HEAD` too.
    #[must_use]
    pub fn add<H, T>(mut self, method: Method, path: &'static str, doc: Doc, handler: H) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
        if path == "/fhir" {
            // The base of FHIR is written with and without a slash at its end: clients join addresses in both ways.
            self.router = self.router.route("/fhir/", on(filter, handler.clone()));
        }
        self.router = self.router.route(path, on(filter, handler));
        self.all.push(Route { method, path, doc });
        self
    }

    /// The descriptions.
    pub fn all(&self) -> &[Route] {
        &self.all
    }

    /// The router.
    pub fn into_router(self) -> Router<App> {
        self.router
    }
}
