//! The routes and their descriptions.

use super::published::{Libraries, SearchParameters};
use super::{definition, export, materialize, published, run};
use crate::api::fhir::PATCH_STATUSES;
use crate::api::routes::{Caller, Doc, Parameter, Routes};
use axum::http::Method;

const FHIR: &str = "application/fhir+json";
const ROWS: &[&str] =
    &["application/x-ndjson", "application/json", "text/csv", "application/vnd.apache.parquet", "application/vnd.apache.arrow.stream"];
const PERMIT: Parameter = Parameter {
    place: "header",
    name: "Dugnad-Permit",
    description: "Under which permit; or the parameter `permit`. A hospital's own is `care`.",
};
const FORMAT: Parameter = Parameter {
    place: "query",
    name: "_format",
    description: "`ndjson` (the default), `json`, `csv`, `parquet`, `arrow`; it wins over `Accept`.",
};
const LIMIT: Parameter = Parameter { place: "query", name: "_limit", description: "At most so many rows." };
const PATIENT: Parameter = Parameter {
    place: "query",
    name: "patient",
    description: "Rows of this patient only; may be repeated. The key as the permit shows it, with or without `Patient/`.",
};
const AS_OF: Parameter = Parameter { place: "query", name: "as_of", description: "A commit; the newest by default." };
const MATERIALIZE: Option<(&str, &str)> = Some(("viewdefinition-materialize", "https://github.com/HL7/sql-on-fhir/issues/326"));
const SQL_RUN: Option<(&str, &str)> = Some(("sql-run", "http://hl7.org/fhir/uv/sql-on-fhir/OperationDefinition/SQLRun"));
const VIEW_RUN: Option<(&str, &str)> = Some(("viewdefinition-run", "http://sql-on-fhir.org/OperationDefinition/$viewdefinition-run"));
const QUERY_RUN: Option<(&str, &str)> = Some(("sqlquery-run", "http://sql-on-fhir.org/OperationDefinition/$sqlquery-run"));

const SQL_EXPORT: Option<(&str, &str)> = Some(("sql-export", "http://hl7.org/fhir/uv/sql-on-fhir/OperationDefinition/SQLExport"));
const VIEW_EXPORT: Option<(&str, &str)> =
    Some(("viewdefinition-export", "http://sql-on-fhir.org/OperationDefinition/$viewdefinition-export"));

const WRITE_STATUSES: &[(u16, &str)] = &[
    (200, "Registered anew; the table of before answers until the new one takes its place"),
    (201, "Registered; its table is being built"),
    (400, "Not JSON, or not a ViewDefinition"),
    (403, "For the centre only"),
    (409, "Another view, or a built-in table, has this name"),
    (422, "Not a ViewDefinition that can be a live table: the element and the reason"),
];
const READ_STATUSES: &[(u16, &str)] =
    &[(200, "The answer"), (404, "Not there, or in none of your permits: nobody can tell which"), (410, "Deleted")];
const RUN_STATUSES: &[(u16, &str)] = &[
    (200, "The rows, streamed"),
    (400, "A parameter or a query that is not answered; the outcome says which and why"),
    (404, "No such view under a permit that you may use now"),
    (412, "The commit is not there, or is before the permit's start"),
    (422, "The view cannot be used, or the answer would be too large"),
    (503, "Being built, or too many questions at once"),
];

/// Adds the routes.
pub fn add(routes: Routes) -> Routes {
    exports(runs(parameters(libraries(materializes(definitions(routes))))))
}

fn definitions(routes: Routes) -> Routes {
    let write = Doc { caller: Caller::Centre, body: Some(FHIR), answer: &[FHIR], statuses: WRITE_STATUSES, ..Doc::new("FHIR", "", "") };
    let read = Doc { caller: Caller::Known, answer: &[FHIR], statuses: READ_STATUSES, ..Doc::new("FHIR", "", "") };
    let create = Doc { id: "registerView", summary: "Register a ViewDefinition under an id of the server's", ..write };
    let update = Doc {
        id: "changeView",
        summary: "Register a ViewDefinition, or change it",
        description: "It becomes a table of the name `ViewDefinition.name`, built in the background from every version in the journal and then current with every commit. Permits name it like any other table.",
        ..write
    };
    let delete = Doc {
        id: "removeView",
        summary: "Delete a ViewDefinition and its table",
        caller: Caller::Centre,
        statuses: &[(204, "Deleted, from the commit in `Dugnad-Commit` on"), (404, "Not there")],
        ..Doc::new("FHIR", "", "")
    };
    let all = Doc { id: "views", summary: "All registered ViewDefinitions that are open to you (a Bundle)", ..read };
    routes
        .add(Method::GET, "/fhir/ViewDefinition", all, definition::all)
        .add(Method::POST, "/fhir/ViewDefinition", create, definition::create)
        .add(Method::GET, "/fhir/ViewDefinition/{id}", Doc { id: "view", summary: "Read a ViewDefinition", ..read }, definition::read)
        .add(Method::PUT, "/fhir/ViewDefinition/{id}", update, definition::update)
        .add(Method::DELETE, "/fhir/ViewDefinition/{id}", delete, definition::delete)
}

fn libraries(routes: Routes) -> Routes {
    let statuses: &[(u16, &str)] = &[
        (200, "Published anew: the next question sees it"),
        (201, "Published"),
        (400, "Not JSON, or SQL that is refused"),
        (403, "For the centre only"),
        (409, "Another table has the name of this view"),
        (422, "Not a SQLQuery or SQLView: the element and the reason"),
    ];
    let write = Doc { caller: Caller::Known, body: Some(FHIR), answer: &[FHIR], statuses, ..Doc::new("FHIR", "", "") };
    let read = Doc { caller: Caller::Known, answer: &[FHIR], statuses: READ_STATUSES, ..Doc::new("FHIR", "", "") };
    let publish = Doc {
        id: "publishLibrary",
        summary: "Publish a SQLQuery or a SQLView, or change it",
        description: "A Library of type `sql-query` or `sql-view`; `relatedArtifact` of type `depends-on` gives ViewDefinitions and SQLViews the names that its SQL uses. A SQLView is a table of the name `Library.name` in lower case, over which permits decide as over others; its SQL is planned over the rows that each permit shows. For a hospital, a Library is a resource like any other.",
        ..write
    };
    let create = Doc { id: "publishNewLibrary", summary: "Publish a SQLQuery or a SQLView under an id of the server's", ..write };
    let patch = Doc {
        caller: Caller::Hospital,
        other_bodies: &["application/json-patch+json", "application/merge-patch+json"],
        statuses: PATCH_STATUSES,
        ..write
    };
    let delete = Doc {
        id: "removeLibrary",
        summary: "Take a SQLQuery or a SQLView back",
        body: None,
        statuses: &[(204, "Taken back"), (403, "For the centre only"), (404, "Not there")],
        ..write
    };
    routes
        .add(
            Method::GET,
            "/fhir/Library",
            Doc {
                id: "libraries",
                summary: "All published queries and views that are open to you",
                description: "For a hospital, a search of its own Libraries, as of any other type; published ones it asks for by id or canonical URL.",
                ..read
            },
            published::all::<Libraries>,
        )
        .add(
            Method::POST,
            "/fhir/Library/_search",
            Doc {
                id: "searchLibrariesByForm",
                summary: "Search a hospital's own Libraries, the parameters as a form",
                caller: Caller::Hospital,
                body: Some("application/x-www-form-urlencoded"),
                ..read
            },
            published::search::<Libraries>,
        )
        .add(
            Method::GET,
            "/fhir/Library/_history",
            Doc { id: "historyOfLibraries", summary: "What was written of a hospital's own Libraries, newest first", caller: Caller::Hospital, ..read },
            published::history::<Libraries>,
        )
        .add(
            Method::PUT,
            "/fhir/Library",
            Doc { id: "updateMatchingLibrary", summary: "Update the one of a hospital's own Libraries that matches", caller: Caller::Hospital, ..write },
            published::update_matching::<Libraries>,
        )
        .add(
            Method::PATCH,
            "/fhir/Library",
            Doc { id: "patchMatchingLibrary", summary: "Change a part of the one of a hospital's own Libraries that matches", ..patch },
            published::patch_matching::<Libraries>,
        )
        .add(
            Method::PATCH,
            "/fhir/Library/{id}",
            Doc { id: "patchLibrary", summary: "Change a part of one of a hospital's own Libraries", ..patch },
            published::patch::<Libraries>,
        )
        .add(
            Method::DELETE,
            "/fhir/Library",
            Doc { id: "deleteMatchingLibrary", summary: "Delete the one of a hospital's own Libraries that matches", caller: Caller::Hospital, ..delete },
            published::delete_matching::<Libraries>,
        )
        .add(Method::POST, "/fhir/Library", create, published::create::<Libraries>)
        .add(Method::GET, "/fhir/Library/{id}", Doc { id: "library", summary: "Read a published query or view", ..read }, published::read::<Libraries>)
        .add(Method::PUT, "/fhir/Library/{id}", publish, published::update::<Libraries>)
        .add(Method::DELETE, "/fhir/Library/{id}", delete, published::delete::<Libraries>)
}

fn parameters(routes: Routes) -> Routes {
    let statuses: &[(u16, &str)] = &[
        (200, "Changed; searches know it when the tables of its types have been built anew"),
        (201, "Added; searches know it when the tables of its types have been built anew"),
        (400, "Not JSON"),
        (403, "For the centre only"),
        (422, "Not a SearchParameter that can be added: the element and the reason"),
    ];
    let write = Doc { caller: Caller::Known, body: Some(FHIR), answer: &[FHIR], statuses, ..Doc::new("FHIR", "", "") };
    let read = Doc { caller: Caller::Known, answer: &[FHIR], statuses: READ_STATUSES, ..Doc::new("FHIR", "", "") };
    let add = Doc {
        id: "addSearchParameter",
        summary: "Add a search parameter to FHIR R4's, or change it",
        description: "For the centre: `code`, `type` (token, string, reference, date, number, quantity, uri), `base`, `expression` (FHIRPath; its parts begin with the types), `target` of references. Each of its types is indexed anew in the background, while writes and searches go on; `GET /fhir/metadata` lists it as soon as searches know it, with all that was ever written. For a hospital, a SearchParameter is a resource like any other.",
        ..write
    };
    let own = Doc { caller: Caller::Hospital, ..write };
    let patch = Doc { other_bodies: &["application/json-patch+json", "application/merge-patch+json"], statuses: PATCH_STATUSES, ..own };
    let remove = Doc {
        id: "removeSearchParameter",
        summary: "Take an added search parameter away",
        body: None,
        statuses: &[
            (204, "Taken away; searches know it until the tables of its types have been built anew"),
            (403, "For the centre only"),
            (404, "Not there"),
        ],
        ..write
    };
    let of_type = "/fhir/SearchParameter";
    let of_one = "/fhir/SearchParameter/{id}";
    type K = SearchParameters;
    routes
        .add(
            Method::GET,
            of_type,
            Doc {
                id: "searchParameters",
                summary: "All search parameters that the centre has added; for a hospital, a search of its own",
                ..read
            },
            published::all::<K>,
        )
        .add(
            Method::POST,
            of_type,
            Doc { id: "addNewSearchParameter", summary: "Add a search parameter under an id of the server's", ..write },
            published::create::<K>,
        )
        .add(
            Method::PUT,
            of_type,
            Doc { id: "updateMatchingSearchParameter", summary: "Update the one of a hospital's own SearchParameters that matches", ..own },
            published::update_matching::<K>,
        )
        .add(
            Method::PATCH,
            of_type,
            Doc {
                id: "patchMatchingSearchParameter",
                summary: "Change a part of the one of a hospital's own SearchParameters that matches",
                ..patch
            },
            published::patch_matching::<K>,
        )
        .add(
            Method::DELETE,
            of_type,
            Doc {
                id: "deleteMatchingSearchParameter",
                summary: "Delete the one of a hospital's own SearchParameters that matches",
                caller: Caller::Hospital,
                ..remove
            },
            published::delete_matching::<K>,
        )
        .add(
            Method::POST,
            "/fhir/SearchParameter/_search",
            Doc {
                id: "searchSearchParametersByForm",
                summary: "Search a hospital's own SearchParameters, the parameters as a form",
                caller: Caller::Hospital,
                body: Some("application/x-www-form-urlencoded"),
                ..read
            },
            published::search::<K>,
        )
        .add(
            Method::GET,
            "/fhir/SearchParameter/_history",
            Doc {
                id: "historyOfSearchParameters",
                summary: "What was written of a hospital's own SearchParameters, newest first",
                caller: Caller::Hospital,
                ..read
            },
            published::history::<K>,
        )
        .add(Method::GET, of_one, Doc { id: "searchParameter", summary: "Read an added search parameter", ..read }, published::read::<K>)
        .add(Method::PUT, of_one, add, published::update::<K>)
        .add(
            Method::PATCH,
            of_one,
            Doc { id: "patchSearchParameter", summary: "Change a part of one of a hospital's own SearchParameters", ..patch },
            published::patch::<K>,
        )
        .add(Method::DELETE, of_one, remove, published::delete::<K>)
}

fn materializes(routes: Routes) -> Routes {
    let path = "/fhir/ViewDefinition/{id}/$viewdefinition-materialize";
    let write = Doc {
        caller: Caller::Centre,
        body: Some(FHIR),
        answer: &[FHIR],
        operation: MATERIALIZE,
        statuses: WRITE_STATUSES,
        ..Doc::new("FHIR", "", "")
    };
    let status = Doc {
        description: "Parameters: `status` (`fresh`, `building` with `percent`, `error` with `reason`), `refreshMode` (always `live`), `name` and `version`; for the centre `rowCount`, `commit` and `lastRefresh` of the newest commit, `since` and `failures` too. `answering` says that the table of before goes on meanwhile.",
        body: None,
        caller: Caller::Known,
        statuses: READ_STATUSES,
        id: "viewStatus",
        summary: "What has become of a view's table",
        ..write
    };
    let create = Doc {
        description: "Registers the definition in the parameter `viewResource`, under the address's id; without it, asks about the one that is there. With `Prefer: respond-async` 202 and where to ask.",
        id: "materialize",
        summary: "Make a table of a view",
        ..write
    };
    let create_new = Doc { id: "materializeNew", summary: "Make a table of the view in `viewResource`", ..create };
    let refresh = Doc {
        description: "From the journal. The table of before answers until then.",
        id: "refreshView",
        summary: "Build a view's table anew",
        ..write
    };
    let drop_table = Doc {
        id: "dropView",
        summary: "Drop a view's table, and its definition",
        body: None,
        statuses: &[(204, "Dropped"), (404, "Not there")],
        ..write
    };
    routes
        .add(Method::GET, path, status, materialize::status)
        .add(Method::POST, path, create, materialize::create)
        .add(Method::POST, "/fhir/ViewDefinition/$viewdefinition-materialize", create_new, materialize::create_new)
        .add(Method::PUT, path, refresh, materialize::refresh)
        .add(Method::DELETE, path, drop_table, materialize::drop_table)
}

fn runs(routes: Routes) -> Routes {
    let get = Doc {
        caller: Caller::Known,
        parameters: &[PERMIT, FORMAT, LIMIT, PATIENT, AS_OF],
        answer: ROWS,
        statuses: RUN_STATUSES,
        ..Doc::new("FHIR", "", "")
    };
    let post = Doc {
        description: "The parameters are a Parameters resource. One thing runs: a registered view (`subjectReference` or `subjectCanonical`; 2.1: `viewReference`, `viewCanonical`), a view over the resources that come with it (`subjectResource` or `viewResource`, and `resource`: no permit, nothing of the database), or a query (`subjectReference` or `queryReference` to a published Library, or the Library itself as `subjectResource` or `queryResource`; its `parameters`).",
        body: Some(FHIR),
        ..get
    };
    let (sql_run, view_run) = (Doc { operation: SQL_RUN, ..get }, Doc { operation: VIEW_RUN, ..get });
    let (sql_run_post, view_run_post) = (Doc { operation: SQL_RUN, ..post }, Doc { operation: VIEW_RUN, ..post });
    let query_run = Doc { operation: QUERY_RUN, id: "runQuery", summary: "Run a SQLQuery under a permit", ..post };
    let of_type = "/fhir/ViewDefinition/$viewdefinition-run";
    let of_one = "/fhir/ViewDefinition/{id}/$viewdefinition-run";
    routes
        .add(Method::GET, "/fhir/$sql-run", Doc { id: "run", summary: "The rows of a view under a permit", ..sql_run }, run::run)
        .add(Method::POST, "/fhir/$sql-run", Doc { id: "runPost", summary: "The rows of a view or a query", ..sql_run_post }, run::run)
        .add(
            Method::GET,
            "/fhir/$viewdefinition-run",
            Doc { id: "runViewSystem", summary: "The rows of a view under a permit", ..view_run },
            run::run,
        )
        .add(
            Method::POST,
            "/fhir/$viewdefinition-run",
            Doc { id: "runViewSystemPost", summary: "The rows of a view", ..view_run_post },
            run::run,
        )
        .add(Method::GET, of_type, Doc { id: "runViewType", summary: "The rows of a view under a permit", ..view_run }, run::run)
        .add(Method::POST, of_type, Doc { id: "runViewTypePost", summary: "The rows of a view", ..view_run_post }, run::run)
        .add(Method::GET, of_one, Doc { id: "runView", summary: "The rows of this view under a permit", ..view_run }, run::run)
        .add(Method::POST, of_one, Doc { id: "runViewPost", summary: "The rows of this view", ..view_run_post }, run::run)
        .add(Method::POST, "/fhir/$sqlquery-run", query_run, run::run)
}

fn exports(routes: Routes) -> Routes {
    let begin = Doc {
        description: "One job, one commit. Each `subject` (2.1: `view`) is a registered view or a query, with a `name` for its file. `Content-Location` is where to ask: 202 with `X-Progress` until it has ended, then 303 to the manifest. Files are kept for a day; they are fetched by the same user, under the same permit, which must still hold. Each fetch is on the record.",
        caller: Caller::Known,
        parameters: &[PERMIT, FORMAT, PATIENT],
        body: Some(FHIR),
        answer: &[FHIR],
        operation: SQL_EXPORT,
        statuses: &[
            (202, "Begun: `Content-Location` says where to ask"),
            (400, "A parameter or a query that is not answered; the outcome says which and why"),
            (404, "No such view under a permit that you may use now"),
            (503, "Too many exports are kept"),
        ],
        ..Doc::new("FHIR", "export", "Write the rows of views into files")
    };
    let view = Doc { operation: VIEW_EXPORT, ..begin };
    let job = Doc {
        caller: Caller::Known,
        answer: &[FHIR],
        statuses: &[(202, "Under way, with `X-Progress`"), (303, "Ended: `Location` is the manifest"), (404, "No export of yours")],
        ..Doc::new("FHIR", "exportStatus", "How far an export is")
    };
    let result = Doc {
        statuses: &[(200, "The manifest: Parameters with an `output` for each file"), (404, "No export of yours that has ended")],
        ..Doc { id: "exportResult", summary: "The manifest of an export", ..job }
    };
    let file = Doc {
        answer: ROWS,
        statuses: &[(200, "The file"), (404, "No file of an export of yours")],
        ..Doc { id: "exportFile", summary: "A file of an export", ..job }
    };
    let cancel = Doc {
        statuses: &[(202, "Stopped; its files are gone"), (404, "No export of yours")],
        ..Doc { id: "exportCancel", summary: "Stop an export, or remove its files", ..job }
    };
    routes
        .add(Method::POST, "/fhir/$sql-export", begin, export::start)
        .add(Method::POST, "/fhir/$viewdefinition-export", Doc { id: "exportViews", ..view }, export::start)
        .add(Method::POST, "/fhir/ViewDefinition/$viewdefinition-export", Doc { id: "exportViewsOfType", ..view }, export::start)
        .add(Method::POST, "/fhir/ViewDefinition/{id}/$viewdefinition-export", Doc { id: "exportView", ..view }, export::start)
        .add(Method::GET, "/fhir/$sql-export/{id}", job, export::status)
        .add(Method::DELETE, "/fhir/$sql-export/{id}", cancel, export::cancel)
        .add(Method::GET, "/fhir/$sql-export/{id}/result", result, export::result)
        .add(Method::GET, "/fhir/$sql-export/{id}/{file}", file, export::file)
}
