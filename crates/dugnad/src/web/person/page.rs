//! The patient's own page as HTML.

use crate::api::ApiError;
use crate::api::mine::{Consent, Mine};
use crate::query::OptOutCover;
use crate::web::layout::{self, grouped};
use crate::web::words::{day_and_time, instant, kinds};
use maud::{Markup, html};
use serde_json::Value;

/// What is around a page.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    /// Whether it is a demo's.
    synthetic: bool,
    signed_in: bool,
}

impl Frame {
    /// That of a visitor; `synthetic`: of a demo.
    pub fn of(synthetic: bool) -> Self {
        Self { synthetic, signed_in: false }
    }

    /// The same for somebody who is signed in.
    pub fn signed_in(self) -> Self {
        Self { signed_in: true, ..self }
    }
}

fn frame(frame: Frame, title: &str, body: &Markup) -> Markup {
    let body = html! {
        header.bar {
            p.name { a href="/me" { (layout::wordmark()) "Dugnad" } }
            @if frame.signed_in {
                form method="post" action="/me/sign-out" { button.quiet type="submit" { "Sign out" } }
            }
        }
        main.person #content { (body) }
    };
    layout::page(title, frame.synthetic, None, &body)
}

/// After a sign-in elsewhere: the browser goes on by itself.
pub(super) fn come_in(around: Frame) -> Markup {
    frame(
        around,
        "Signed in",
        &html! {
            h1 { "Signed in" }
            p { a href="/me" { "On to your page" } }
        },
    )
}

/// Where a patient signs in; `wrong` says what was wrong with the last try, `provider` whether there is another way.
pub(super) fn sign_in(around: Frame, wrong: Option<&str>, provider: bool) -> Markup {
    frame(
        around,
        "Sign in",
        &html! {
            h1 { "Who has read my data?" }
            p.lead { "Sign in to see every access to your own health data, to opt out, and to take that back." }
            @if provider {
                p { a.button href="/me/sign-in/provider" { "Sign in with your identity provider" } }
            }
            form.card.sign-in method="post" action="/me/sign-in" {
                label for="token" { "Your token" }
                p.hint #token-hint { "A line that begins with dgn_. Whoever runs this database gave it to you." }
                @if let Some(wrong) = wrong { p.wrong #token-wrong role="alert" { (wrong) } }
                input #token type="password" name="token" required maxlength="200" autocomplete="current-password" spellcheck="false"
                    aria-describedby=(if wrong.is_some() { "token-wrong token-hint" } else { "token-hint" })
                    aria-invalid=[wrong.map(|_| "true")];
                button type="submit" { "Sign in" }
            }
            p.aside { "That you looked is recorded too. You are signed out after 20 minutes without use." }
        },
    )
}

/// For a patient whose token is bound to nobody who is known.
pub(super) fn unknown(around: Frame) -> Markup {
    frame(
        around,
        "Your data",
        &html! {
            h1 { "Your data" }
            p.lead { "Your token is not bound to a patient who is known here. Ask whoever gave it to you." }
        },
    )
}

pub(super) fn problem(around: Frame, error: &ApiError) -> Markup {
    frame(
        around,
        "That did not work",
        &html! {
            h1 { "That did not work" }
            @for issue in &error.issues { p { (issue.diagnostics) } }
            p { a href="/me" { "Back to your page" } }
        },
    )
}

/// The page itself. `later` is set on a further page of accesses.
pub(super) fn home(around: Frame, user: &str, mine: &Mine, csrf: &str, later: bool, cover: OptOutCover) -> Markup {
    frame(
        around,
        "Your data",
        &html! {
            h1 { "Your data" }
            p.lead { "Signed in as " b { (user) } "." }
            @if !later { (opting(mine, csrf, cover)) (consents(&mine.consents)) }
            (accesses(user, mine, later))
        },
    )
}

fn opting(mine: &Mine, csrf: &str, cover: OptOutCover) -> Markup {
    let (state, act, label) = match (mine.opted_out, mine.by_themself) {
        (false, _) => ("You have not opted out.", "out", "Opt out"),
        (true, true) => ("You have opted out.", "in", "Take the opt-out back"),
        (true, false) => ("You are opted out by a hospital’s record.", "out", "Opt out here too"),
    };
    html! {
        section.card aria-labelledby="opting" {
            h2 #opting { "Use of your data for research, policy and statistics" }
            p.state data-out[mine.opted_out] role="status" { (state) }
            @if mine.opted_out && !mine.by_themself {
                p { "A hospital has recorded an opt-out of yours; it is among the consents below. Ask that hospital to take it back." }
            }
            form method="post" action="/me/opt-out" {
                input type="hidden" name="csrf" value=(csrf);
                input type="hidden" name="opt" value=(act);
                button type="submit" { (label) }
            }
            details {
                summary { "What this does" }
                ul.plain {
                    li { "You need no reason, and you can change it at any time (Art. 71 of Regulation (EU) 2025/327)." }
                    li { "It holds from the next question that begins after you have pressed the button. Statistics, which are counted at set times, are without you from their next count." }
                    @if cover == OptOutCover::LaterPermits {
                        li { "It covers permits that are granted from then on. Permits that were granted before go on, as the regulation has it." }
                    } @else {
                        li { "It covers all permits for these uses, also those that were granted before." }
                    }
                    li { "It does not touch your treatment, nor studies that you consented to: to leave one, tell the hospital. Registers kept by law follow that law." }
                }
            }
        }
    }
}

fn consents(all: &[Consent]) -> Markup {
    let (stand, ended): (Vec<_>, Vec<_>) = all.iter().partition(|consent| consent.stands);
    html! {
        section.card aria-labelledby="consents" {
            h2 #consents { "Consents that stand for you" }
            @if stand.is_empty() { p { "None is recorded here." } } @else { ul.list { @for one in &stand { (consent(one)) } } }
            @if !ended.is_empty() {
                details {
                    summary { (ended.len()) " that no longer stand" }
                    ul.list { @for one in &ended { (consent(one)) } }
                }
            }
        }
    }
}

fn consent(consent: &Consent) -> Markup {
    let about = if consent.opt_out { "Opt-out of secondary use" } else { consent.about.as_str() };
    html! {
        li {
            b { (if about.is_empty() { "Consent" } else { about }) }
            span.facts {
                span { (consent.hospital) }
                span { (consent.status) }
                @if let Some(version) = &consent.version { span { "version " (version) } }
                @if let Some(given) = &consent.given { span { "given " (given) } }
            }
        }
    }
}

fn text<'v>(access: &'v Value, field: &str) -> &'v str {
    access[field].as_str().unwrap_or_default()
}

/// Who it was, in words.
fn reader(access: &Value, user: &str) -> Markup {
    let (name, role) = (text(access, "user"), text(access, "role"));
    let organisation = access["organisation"].as_str();
    html! {
        @if role == "patient" && name == user { b { "You" } }
        @else if let Some(organisation) = organisation.filter(|organisation| *organisation != name) {
            b { (organisation) } " · " (name)
        } @else { b { (name) } }
        " " span.role { (role) }
    }
}

fn accesses(user: &str, mine: &Mine, later: bool) -> Markup {
    let all = mine.accesses["accesses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let total = mine.accesses["total"].as_u64().unwrap_or(0);
    html! {
        section aria-labelledby="accesses" {
            h2 #accesses { "Who has read your data" }
            p.aside {
                (grouped(total)) " accesses in all, the newest first. Each is one whose answer was made from data about you: "
                "this is what was read, not what could have been. Your own looks at this page are among them."
            }
            @if all.is_empty() { p { "Nobody has." } }
            ol.accesses { @for run in runs(all) { li.card { (listed(run, user)) } } }
            nav.pages aria-label="Further accesses" {
                @if later { a href="/me" { "Newest" } }
                @if let Some(next) = mine.accesses["next"].as_u64() { a href=(format!("/me?before={next}")) rel="next" { "Older" } }
            }
        }
    }
}

/// Accesses that follow each other and differ in time and tables only, together: a screen that is always current reads often.
fn runs(all: &[Value]) -> impl Iterator<Item = &[Value]> {
    let same = |one: &Value, other: &Value| {
        ["user", "role", "organisation", "permit", "purpose", "certain"].iter().all(|field| one[*field] == other[*field])
    };
    all.chunk_by(same)
}

fn listed(run: &[Value], user: &str) -> Markup {
    let (Some(newest), Some(oldest)) = (run.first(), run.last()) else { return Markup::default() };
    html! {
        h3 { (reader(newest, user)) }
        p.when {
            @if run.len() > 1 { (run.len()) " times, from " (time(oldest)) " to " (time(newest)) } @else { (time(newest)) }
        }
        (facts(newest, run))
        @if run.len() == 1 { p { (details(newest)) } } @else {
            details {
                summary { "Each of the " (run.len()) }
                ol.each { @for access in run { li { (time(access)) span { (kinds(tables(access))) } (details(access)) } } }
            }
        }
    }
}

fn details(access: &Value) -> Markup {
    let entry = access["entry"].as_u64().unwrap_or(0);
    html! { a href=(format!("/me/accesses/{entry}")) { "Details and proof" span.unseen { " of entry " (entry) } } }
}

fn tables(access: &Value) -> impl Iterator<Item = &str> {
    access["tables"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn time(access: &Value) -> Markup {
    let at = text(access, "at");
    html! { time datetime=(at) { (instant(at).map_or_else(|| at.to_owned(), day_and_time)) } }
}

/// For what, under what, and what kinds of data: of an access, or of one and others like it.
fn facts(access: &Value, run: &[Value]) -> Markup {
    let (purpose, permit) = (text(access, "purpose"), text(access, "permit"));
    html! {
        dl.facts {
            div { dt { "Data" } dd { (kinds(run.iter().flat_map(tables))) } }
            @if !purpose.is_empty() { div { dt { "Purpose" } dd { (purpose) } } }
            @if !permit.is_empty() && permit != "care" {
                div { dt { "Permit" } dd { a href=(format!("/public-register/permits/{permit}")) { (permit) } } }
            }
        }
        @if access["certain"] == false {
            p.note { "The server was stopped in the middle of this one. Nobody knows how far it came, so everybody who could be in it is taken to have been." }
        }
    }
}

/// One access, with its proof and how to check it.
pub(super) fn access(around: Frame, access: &Value, key: &str) -> Markup {
    let entry = access["entry"].as_u64().unwrap_or(0);
    let proof = &access["proof"];
    let file = format!("proof-{entry}.json");
    frame(
        around,
        "An access to your data",
        &html! {
            p { a href="/me" { "Your data" } }
            h1 { "An access to your data" }
            div.card {
                h2 { (reader(access, "")) }
                p.when { (time(access)) }
                (facts(access, std::slice::from_ref(access)))
                dl.facts {
                    div { dt { "By way of" } dd { (text(access, "interface")) } }
                    @if let Some(rows) = access["rows"].as_u64() { div { dt { "Rows of the answer" } dd { (grouped(rows)) ", of all persons in it" } } }
                    div { dt { "Ended" } dd { (text(access, "outcome")) } }
                    div { dt { "Entry" } dd { (entry) } }
                }
            }
            section.card aria-labelledby="proof" {
                h2 #proof { "Proof" }
                @if proof.is_null() {
                    p { "The log is signed at fixed times, and this entry waits for the next one. Open this page again in some seconds." }
                } @else {
                    p { "This entry is in the log of all accesses, which cannot be changed without it showing. To check that without this server:" }
                    ol.steps {
                        li { a href=(format!("/me/accesses/{entry}/proof")) download=(file) { "Download the proof" } " (" code { (file) } ")." }
                        li { "Run " code.line { "dugnad audit check " (file) " --key '" (key) "'" } " on any machine, offline." }
                        li { "Get the key from somewhere else too, such as a witness of the log, if you do not want to take this server’s word for it." }
                    }
                    details {
                        summary { "What is in the proof" }
                        p { "The entry, a number that hides it from those who were not given it, the hashes from it up to the root of the log, and the signed checkpoint that names the root (RFC 6962). With SHA-256 and Ed25519 it can be checked by hand, as the description of the log’s format says." }
                        dl.facts {
                            div { dt { "Entry as it stands in the log" } dd { code.block { (text(proof, "entry")) } } }
                            div { dt { "Checkpoint" } dd { code.block { (text(proof, "checkpoint")) } } }
                            div { dt { "Hashes" } dd { (proof["inclusion"].as_array().map_or(0, Vec::len)) } }
                        }
                    }
                }
            }
        },
    )
}
