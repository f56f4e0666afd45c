//! Statistics over HTTP: what there is, its cells as JSON-stat or CSV, the dimensions, the registered cohorts. The cells are those
//! that `POST /sql` answers with; the question is put together from the address.

mod cells;
mod cohorts;
mod documents;

use super::routes::Routes;

/// Adds the routes.
pub fn add(routes: Routes) -> Routes {
    cohorts::add(documents::add(cells::add(routes)))
}
