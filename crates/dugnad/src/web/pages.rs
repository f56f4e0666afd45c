//! The pages that are added, and which they are.

use axum::Router;
use axum::http::Method;

/// A router of pages under construction, with the list of them: the full grid calls every one.
#[derive(Default)]
pub struct Pages {
    router: Router,
    all: Vec<(Method, &'static str)>,
}

impl Pages {
    /// Adds pages: a router, and what is in it.
    #[must_use]
    pub fn add(mut self, all: &[(Method, &'static str)], router: Router) -> Self {
        self.all.extend_from_slice(all);
        self.router = self.router.merge(router);
        self
    }

    /// Methods and paths.
    pub fn all(&self) -> &[(Method, &'static str)] {
        &self.all
    }

    /// The router.
    pub fn into_router(self) -> Router {
        self.router
    }
}
