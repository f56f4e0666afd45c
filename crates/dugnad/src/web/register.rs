//! `/public-register`: the public register (Art. 57 and 58 of Regulation (EU) 2025/327) for people; `/register` has it as JSON.

use super::assets;
use super::layout;
use super::pages::Pages;
use super::words::{day, instant};
use crate::api::{ApiError, App, register};
use crate::limits::REGISTER_SHOWN;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use maud::{Markup, html};
use serde_json::Value;
use std::collections::HashMap;

const HOME: &str = "/public-register";

/// The kinds of entries: name, title, when nothing is there.
const KINDS: [(&str, &str, &str); 3] = [
    ("applications", "Applications and decisions", "Nobody has applied."),
    ("permits", "Permits", "None was granted."),
    ("releases", "Published results", "None has been published."),
];

/// Adds the pages.
pub(super) fn add(pages: Pages, app: &App, synthetic: bool) -> Pages {
    let desk = Desk { app: app.clone(), synthetic };
    let router = Router::new()
        .route(HOME, get(home))
        .route("/public-register/{kind}", get(one_kind))
        .route("/public-register/{kind}/{id}", get(one))
        .with_state(desk);
    let all = [(Method::GET, HOME), (Method::GET, "/public-register/{kind}"), (Method::GET, "/public-register/{kind}/{id}")];
    pages.add(&all, assets::secured(router))
}

/// What the pages are made from.
#[derive(Clone)]
struct Desk {
    app: App,
    synthetic: bool,
}

/// A page, or what is shown where there is none.
type Page = Result<Markup, Response>;

impl Desk {
    fn frame(&self, title: &str, body: &Markup) -> Markup {
        let body = html! {
            header.bar { p.name { a href="/" { (layout::wordmark()) "Dugnad" } } }
            main.person #content { (body) }
        };
        layout::page(title, self.synthetic, None, &body)
    }

    fn problem(&self, error: &ApiError) -> Response {
        let body = html! {
            h1 { "There is nothing to show" }
            @for issue in &error.issues { p { (issue.diagnostics) } }
            p { a href=(HOME) { "The public register" } }
        };
        (error.status, self.frame("The public register", &body)).into_response()
    }

    fn absent(&self) -> Response {
        self.problem(&ApiError::not_found("The register has no such entry."))
    }

    /// All entries, the newest first.
    async fn entries(&self) -> Result<HashMap<&'static str, Vec<Value>>, Response> {
        let found = async {
            let place = self.app.enter_reads().await?;
            self.app.on_thread(place, |app| register::entries(app, app.now())).await
        };
        let all = found.await.map_err(|error: ApiError| self.problem(&error))?;
        let newest_first = |(kind, mut entries): (&'static str, Vec<Value>)| {
            entries.sort_by_key(|entry| std::cmp::Reverse(since(entry).to_owned()));
            (kind, entries)
        };
        Ok(all.into_iter().map(newest_first).collect())
    }
}

/// When an entry came into the register.
fn since(entry: &Value) -> &str {
    [&entry["received_at"], &entry["decision"]["at"], &entry["published_at"]].into_iter().find_map(Value::as_str).unwrap_or_default()
}

async fn home(State(desk): State<Desk>) -> Page {
    let all = desk.entries().await?;
    Ok(desk.frame(
        "The public register",
        &html! {
            h1 { "The public register" }
            p.lead { "Who has applied for health data, for what, and what was decided; permits in force; results that were published." }
            p.aside {
                "Organisations are named, persons are not (Art. 57 and 58 of Regulation (EU) 2025/327). For programs: "
                a href="/register" { "the same as JSON" } "."
            }
            @for (kind, title, none) in KINDS {
                @let entries = all.get(kind).map(Vec::as_slice).unwrap_or_default();
                section aria-labelledby=(kind) {
                    h2 id=(kind) { (title) }
                    @if entries.is_empty() { p { (none) } }
                    (list(kind, entries.iter().take(REGISTER_SHOWN)))
                    @if entries.len() > REGISTER_SHOWN {
                        p { a href=(format!("{HOME}/{kind}?from={REGISTER_SHOWN}")) { "Older" } }
                    }
                }
            }
        },
    ))
}

async fn one_kind(State(desk): State<Desk>, Path(kind): Path<String>, Query(query): Query<HashMap<String, String>>) -> Page {
    let (kind, title, none) = KINDS.into_iter().find(|(name, ..)| *name == kind).ok_or_else(|| desk.absent())?;
    let from: usize = query.get("from").and_then(|from| from.parse().ok()).unwrap_or(0);
    let all = desk.entries().await?;
    let entries = all.get(kind).map(Vec::as_slice).unwrap_or_default();
    let rest = entries.len().saturating_sub(from);
    Ok(desk.frame(
        title,
        &html! {
            p { a href=(HOME) { "The public register" } }
            h1 { (title) }
            @if rest == 0 { p { (none) } }
            (list(kind, entries.iter().skip(from).take(REGISTER_SHOWN)))
            nav.pages aria-label="Further entries" {
                @if from > 0 { a href=(format!("{HOME}/{kind}?from={}", from.saturating_sub(REGISTER_SHOWN))) rel="prev" { "Newer" } }
                @if rest > REGISTER_SHOWN { a href=(format!("{HOME}/{kind}?from={}", from + REGISTER_SHOWN)) rel="next" { "Older" } }
            }
        },
    ))
}

async fn one(State(desk): State<Desk>, Path((kind, id)): Path<(String, String)>) -> Page {
    let (kind, ..) = KINDS.into_iter().find(|(name, ..)| *name == kind).ok_or_else(|| desk.absent())?;
    let all = desk.entries().await?;
    let entry = all.get(kind).and_then(|entries| entries.iter().find(|entry| entry["id"] == id.as_str()));
    let entry = entry.ok_or_else(|| desk.absent())?;
    Ok(desk.frame(
        &heading(entry),
        &html! {
            p { a href=(HOME) { "The public register" } }
            h1 { (heading(entry)) }
            div.card { (facts(kind, entry)) }
            p.aside { a href=(format!("/register/{kind}/{id}")) { "This entry as JSON" } }
        },
    ))
}

fn list<'e>(kind: &str, entries: impl Iterator<Item = &'e Value>) -> Markup {
    html! {
        ul.list {
            @for entry in entries {
                li {
                    a href=(format!("{HOME}/{kind}/{}", text(&entry["id"]))) { b { (heading(entry)) } }
                    span.facts {
                        @if let Some(name) = entry["organisation"]["name"].as_str() { span { (name) } }
                        @if let Some(basis) = entry["basis"].as_str() { span { (basis.replace('_', " ")) } }
                        @if let Some(state) = entry["state"].as_str() { span { (state) } }
                        @if let Some(at) = instant(since(entry)) { span { (day(at)) } }
                    }
                }
            }
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The title of an application or result, the purpose of a permit.
fn heading(entry: &Value) -> String {
    let said = [&entry["title"], &entry["purpose"], &entry["id"]].into_iter().filter_map(Value::as_str);
    said.into_iter().find(|said| !said.trim().is_empty()).unwrap_or("Without a title").to_owned()
}

/// What is known of an entry, in the order in which one asks.
fn facts(kind: &str, entry: &Value) -> Markup {
    let decision = &entry["decision"];
    let days = |value: &Value| instant(text(value)).map(day);
    let plain = |name: &str| entry[name].as_str().map(|text| text.replace('_', " "));
    let (from, until) = (days(&entry["valid_from"]), days(&entry["valid_until"]));
    html! {
        dl.facts {
            (fact("Organisation", entry["organisation"]["name"].as_str().or(entry["organisation"]["id"].as_str())))
            (fact("State", plain("state").as_deref()))
            (fact("Legal basis", plain("basis").as_deref()))
            (fact("Provision", entry["provision"]["law"].as_str()))
            (fact("Purpose", entry["purpose"].as_str()))
            (fact("Purposes of Art. 53", joined(&entry["purposes"]).as_deref()))
            (fact("Received", days(&entry["received_at"]).as_deref()))
            (fact("To be decided before", days(&entry["deadline"]["due"]).as_deref()))
            @if decision.is_object() {
                (fact("Decision", decision["granted"].as_bool().map(|granted| if granted { "granted" } else { "refused" })))
                (fact("Decided", days(&decision["at"]).as_deref()))
                (fact("Reasons", decision["reasons"].as_str()))
                @if let Some(permit) = decision["permit"].as_str() {
                    div { dt { "Permit" } dd { a href=(format!("{HOME}/permits/{permit}")) { (permit) } } }
                }
            }
            @if let (Some(from), Some(until)) = (from, until) { (fact("In force", Some(&format!("from {from} until {until}")))) }
            (fact("How current", plain("cadence").as_deref()))
            (fact("Where rows are shown", plain("delivery").as_deref()))
            (fact("Whose data", population(&entry["population"]).as_deref()))
            @if let Some(tables) = entry["tables"].as_array() {
                div { dt { "Tables and columns" } dd { ul.plain { @for table in tables { li { b { (text(&table["table"])) } ": " (columns(table)) } } } } }
            }
            (fact("Published", days(&entry["published_at"]).as_deref()))
            @if kind == "releases" {
                @if let Some(permit) = entry["permit"].as_str() {
                    div { dt { "Permit" } dd { a href=(format!("{HOME}/permits/{permit}")) { (permit) } } }
                }
                @for file in entry["files"].as_array().into_iter().flatten() {
                    @let name = text(&file["name"]);
                    div { dt { "File" } dd { a href=(format!("/register/releases/{}/{name}", text(&entry["id"]))) { (name) } } }
                }
            }
        }
    }
}

fn fact(name: &str, value: Option<&str>) -> Markup {
    html! { @if let Some(value) = value.filter(|value| !value.is_empty()) { div { dt { (name) } dd { (value) } } } }
}

fn joined(values: &Value) -> Option<String> {
    Some(values.as_array()?.iter().filter_map(Value::as_str).map(|text| text.replace('_', " ")).collect::<Vec<_>>().join(", "))
}

/// The columns of a table, each with what is done to it.
fn columns(table: &Value) -> String {
    let shown = |name: &str| match &table["transforms"][name] {
        Value::Null => name.to_owned(),
        Value::String(transform) => format!("{name} ({transform})"),
        transform => format!("{name} ({})", transform.to_string().replace(['{', '}', '"'], "").replace(':', " ")),
    };
    match table["columns"].as_array() {
        Some(columns) => columns.iter().filter_map(Value::as_str).map(shown).collect::<Vec<_>>().join(", "),
        None => "all columns".to_owned(),
    }
}

/// Whose data, in words where there are some.
fn population(population: &Value) -> Option<String> {
    match population {
        Value::Null => None,
        Value::String(text) => Some(text.replace('_', " ")),
        Value::Object(object) if object.contains_key("study_subjects") => Some("subjects of named studies".to_owned()),
        Value::Object(object) if object.contains_key("listed") => Some("named persons, as the decision froze them".to_owned()),
        Value::Object(object) if object.contains_key("frozen") => {
            Some(format!("whoever met this when it was decided: {}", object["frozen"]["criteria"]))
        }
        other => Some(other.to_string()),
    }
}
