//! `GET /statistics` and `GET /statistics/{table}`.

use crate::api::auth::Caller as Known;
use crate::api::headers::{DUGNAD_DISCLOSURE, DUGNAD_EPOCH, percent_decode, value};
use crate::api::routes::{Caller, Doc, Routes};
use crate::api::{ApiError, App};
use crate::query::{Basis, Catalogue, CellRow, Question, cell_rows};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Method, Response, header};
use dugnad_kernel::disclosure::is_name;
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_kernel::ids::Commit;
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// The media type of JSON-stat, <https://json-stat.org/format/>.
const JSON_STAT: &str = "application/json";

/// Adds the routes.
pub(super) fn add(routes: Routes) -> Routes {
    let catalogue = Doc {
        description: "Tables, their dimensions with levels, the measures, the method of disclosure control with its parameters, and the epochs. It is a function of published documents and the calendar: nothing in it comes from the data.",
        answer: &["application/json"],
        statuses: &[(200, "The catalogue")],
        ..Doc::new("Statistics", "statistics", "What statistics can be asked for")
    };
    let cells = Doc {
        description: "The cells that `POST /sql` answers with for the same permit, as [JSON-stat 2.0](https://json-stat.org/full/) or as CSV in long form, with the columns of SDMX-CSV. Parameters: `permit`; `by`, the levels, with commas; `measure`, with commas (`persons`); `cohort`; `as_of`, a commit; any level with the codes that are asked for, with commas; `format`, `json-stat` or `csv`. A cell that is not shown has the status `c` (confidential).",
        caller: Caller::Known,
        answer: &[JSON_STAT, "text/csv"],
        statuses: &[
            (200, "The cells; `Dugnad-Epoch` says of which epoch"),
            (400, "Not a question that statistics answer"),
            (404, "No such permit"),
        ],
        ..Doc::new("Statistics", "statistic", "The cells of a statistic")
    };
    routes.add(Method::GET, "/statistics", catalogue, list).add(Method::GET, "/statistics/{table}", cells, ask)
}

async fn list(State(app): State<App>) -> Result<Json<Catalogue>, ApiError> {
    let place = app.enter_reads().await?;
    app.on_thread(place, |app| Ok(Json(app.query().statistics_catalogue()?))).await
}

/// What the address asks for.
struct Asked {
    permit: String,
    by: Vec<String>,
    measures: Vec<String>,
    sql: String,
    as_of: Option<Commit>,
    csv: bool,
}

impl Asked {
    fn of(table: &str, query: &str, headers: &HeaderMap) -> Result<Self, ApiError> {
        let wrong = |at: &str, what: &str| ApiError::bad_request(IssueType::Value, what).at(at);
        let list = |text: &str| text.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        let (mut permit, mut by, mut measures, mut conditions) = (None, Vec::new(), Vec::new(), Vec::new());
        let (mut as_of, mut format) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, text) = (percent_decode(name, true), percent_decode(text, true));
            match name.as_str() {
                "permit" => permit = Some(text),
                "by" => by = list(&text),
                "measure" => measures = list(&text),
                "format" => format = Some(text),
                "as_of" => as_of = Some(Commit(text.parse().map_err(|_| wrong("as_of", "write the number of a commit"))?)),
                level if is_name(level) => {
                    // A cohort is one; its id has no comma.
                    let codes = list(&text).iter().map(|code| format!("'{}'", code.replace('\'', "''"))).collect::<Vec<_>>();
                    conditions.push(format!("{level} IN ({})", codes.join(", ")));
                }
                other => {
                    return Err(wrong(
                        other,
                        "there is no such parameter; levels, permit, by, measure, cohort, as_of and format are known",
                    ));
                }
            }
        }
        if measures.is_empty() {
            measures.push("persons".to_owned());
        }
        if !is_name(table) {
            return Err(ApiError::not_found("there is no such statistic; GET /statistics lists them"));
        }
        if let Some(name) = by.iter().chain(&measures).find(|name| !is_name(name)) {
            return Err(wrong(name, "this is no name of a level or measure; GET /statistics lists them"));
        }
        let csv = match format.as_deref() {
            Some("csv") => true,
            Some("json-stat" | "json") => false,
            None => headers.get(header::ACCEPT).and_then(|a| a.to_str().ok()).is_some_and(|accept| accept.contains("text/csv")),
            Some(_) => return Err(wrong("format", "write json-stat or csv")),
        };
        let columns = by.iter().chain(&measures).map(String::as_str).collect::<Vec<_>>().join(", ");
        let mut sql = format!("SELECT {columns} FROM statistics.{table}");
        for (nth, condition) in conditions.iter().enumerate() {
            let _ = write!(sql, " {} {condition}", if nth == 0 { "WHERE" } else { "AND" });
        }
        if !by.is_empty() {
            let _ = write!(sql, " GROUP BY {}", by.join(", "));
        }
        let permit = permit.ok_or_else(|| wrong("permit", "say under which permit: ?permit=ID; GET /permits lists yours"))?;
        Ok(Self { permit, by, measures, sql, as_of, csv })
    }
}

async fn ask(
    State(app): State<App>,
    Known(who): Known,
    Path(table): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response<Body>, ApiError> {
    let asked = Asked::of(&table, query.as_deref().unwrap_or_default(), &headers)?;
    let (permit, sql) = (asked.permit.clone(), asked.sql.clone());
    let question = Question { who, interface: "statistics", permit, sql, as_of: asked.as_of, min_commit: None };
    let answer = app.query().ask(question).await?;
    let basis = answer.basis.clone();
    let Basis::Epoch { epoch, method, suppressed } = &basis else {
        return Err(ApiError::bad_request(IssueType::Invalid, "this permit gives rows, not statistics; ask POST /sql").at("permit"));
    };
    let rows = cell_rows(answer, asked.by.len()).await?;
    let (method, suppressed) = (method.to_string(), suppressed.band());
    let catalogue = app.query().statistics_catalogue()?;
    let cells = Cells { table: &table, epoch, method: &method, suppressed, asked: &asked, catalogue: &catalogue, rows: &rows };
    let (body, kind) = if asked.csv { (cells.csv(), "text/csv; charset=utf-8") } else { (cells.json_stat().to_string(), JSON_STAT) };
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(DUGNAD_EPOCH, value(epoch));
    if let Some(disclosure) = basis.disclosure() {
        response.headers_mut().insert(DUGNAD_DISCLOSURE, value(&disclosure));
    }
    Ok(response)
}

/// An answer, and what it is of.
struct Cells<'a> {
    table: &'a str,
    epoch: &'a str,
    method: &'a str,
    suppressed: &'static str,
    asked: &'a Asked,
    catalogue: &'a Catalogue,
    rows: &'a [CellRow],
}

impl Cells<'_> {
    fn title(&self) -> String {
        let table = self.catalogue.tables.iter().find(|table| table.name == format!("statistics.{}", self.table));
        table.map_or_else(|| self.table.to_owned(), |table| table.title.clone())
    }

    fn json_stat(&self) -> Value {
        let mut dimension = Map::new();
        let mut size = Vec::new();
        for (nth, level) in self.asked.by.iter().enumerate() {
            let mut codes: Vec<&String> = Vec::new();
            let mut seen = std::collections::HashSet::new();
            codes.extend(self.rows.iter().map(|row| &row.codes[nth]).filter(|code| seen.insert(code.as_str())));
            size.push(codes.len());
            dimension.insert(level.clone(), json!({"label": self.label_of(level), "category": {"index": codes}}));
        }
        let measures: Map<String, Value> = self.asked.measures.iter().map(|m| (m.clone(), json!(self.label_of(m)))).collect();
        dimension.insert("measure".to_owned(), json!({"label": "Measure", "category": {"index": self.asked.measures, "label": measures}}));
        size.push(self.asked.measures.len());
        let values: Vec<&Value> = self.rows.iter().flat_map(|row| &row.values).collect();
        let hidden = values.iter().enumerate().filter(|(_, value)| value.is_null());
        let status: Map<String, Value> = hidden.map(|(at, _)| (at.to_string(), json!("c"))).collect();
        let id: Vec<&str> = self.asked.by.iter().map(String::as_str).chain(["measure"]).collect();
        let of = |names: &[&str]| id.iter().filter(|level| names.contains(level)).collect::<Vec<_>>();
        let mut role = json!({"metric": ["measure"]});
        for (name, levels) in [("time", of(&["year", "quarter", "month"])), ("geo", of(&["county"]))] {
            if !levels.is_empty() {
                role[name] = json!(levels);
            }
        }
        json!({
            "version": "2.0",
            "class": "dataset",
            "label": self.title(),
            "source": "Dugnad; method and codes: GET /statistics",
            "updated": self.epoch,
            "id": id,
            "size": size,
            "role": role,
            "dimension": dimension,
            "value": values,
            "status": status,
            "extension": {
                "epoch": self.epoch,
                "disclosure": self.catalogue.method,
                "least_shown": self.catalogue.least_shown,
                "suppressed": self.suppressed,
            },
        })
    }

    fn label_of(&self, name: &str) -> String {
        let mut levels = self.catalogue.tables.iter().flat_map(|table| &table.dimensions).flat_map(|dimension| &dimension.levels);
        let measure = self.catalogue.measures.iter().find(|(measure, _)| *measure == name).map(|(_, title)| (*title).to_owned());
        measure.or_else(|| levels.find(|level| level.name == name).map(|level| level.title.clone())).unwrap_or_else(|| name.to_owned())
    }

    /// In long form: a row for each value. `OBS_STATUS` is that of the SDMX code list CL_OBS_STATUS: A normal; CONF_STATUS that of
    /// CL_CONF_STATUS: F free, C confidential.
    fn csv(&self) -> String {
        let mut text = String::from("DATAFLOW");
        for level in &self.asked.by {
            let _ = write!(text, ",{}", level.to_uppercase());
        }
        text.push_str(",MEASURE,OBS_VALUE,OBS_STATUS,CONF_STATUS,EPOCH,METHOD\n");
        for CellRow { codes, values } in self.rows {
            for (measure, value) in self.asked.measures.iter().zip(values) {
                let _ = write!(text, "DUGNAD:{}(1.0)", self.table.to_uppercase());
                for code in codes {
                    let _ = write!(text, ",{}", field(code));
                }
                let (shown, status, confidential) = if value.is_null() { (String::new(), "M", "C") } else { (value.to_string(), "A", "F") };
                let _ = writeln!(text, ",{measure},{shown},{status},{confidential},{},{}", field(self.epoch), field(self.method));
            }
        }
        text
    }
}

fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}
