//! The demo page as HTML. `assets/demo.js` brings it up to date by the `data-` attributes written here.

use super::state::{DemoState, KindCount};
use crate::feed::{Kind, hospitals};
use crate::web::layout::{self, grouped, milliseconds};
use crate::web::map::{self, Dot};
use maud::{Markup, html};

/// The kinds of the table `treatment`, as they are shown.
const KINDS: [(&str, &str); 5] = [
    ("drug_administration", "Drugs"),
    ("radiotherapy", "Radiotherapy"),
    ("surgery", "Surgery"),
    ("other_procedure", "Diagnostics"),
    ("immunization", "Vaccines"),
];

/// The newest treatments that the list shows.
const LISTED: usize = 7;

pub(super) fn page(state: &DemoState) -> Markup {
    layout::page(
        "Dugnad demo",
        true,
        Some("/assets/demo.js"),
        &html! {
            header.top {
                h1 { (layout::wordmark()) "Dugnad" }
                p.lead { "A hospital treats; authority and industry read it at once, each within a permit." }
                (pulse_of(state))
            }
            main.board #content {
                div.left { (drawing(state)) (audit(state)) }
                (freshness(state))
                section.readers aria-label="What each permit sees" {
                    (authority(state))
                    (study(state))
                    (statistics(state))
                }
                (arrivals(state))
            }
            (hospital_table(state))
            footer {
                p {
                    "Counties: " span lang="nb" { (map::ATTRIBUTION) } ". Hospitals: public register, about 2019. "
                    "Patients, treatments and their "
                    "frequencies are made up; codes as in ICD-10, NCSP, ATC, LOINC, NPU and SNOMED CT. What applicants wait today: "
                    a href="https://helsedata.no/" { "helsedata.no" } "."
                }
                p.links {
                    a href="/fhir/metadata" { "FHIR" }
                    a href="/openapi.json" { "OpenAPI" }
                    a href="/audit/checkpoint" { "Audit checkpoint" }
                    a href="/public-register" { "Public register" }
                    a href="/me" { "A patient’s own page" }
                }
            }
        },
    )
}

fn pulse_of(state: &DemoState) -> Markup {
    html! {
        dl.vitals {
            div { dt { "Commit" } dd data-number="commit" { (grouped(state.commit)) } }
            div { dt { "Treatments per second" } dd data-rate="rate_per_s" { (format!("{:.1}", state.rate_per_s)) } }
            div { dt { "Resources" } dd data-number="resources" { (grouped(state.resources)) } }
            div { dt { "Patients" } dd data-number="patients" { (grouped(state.patients)) } }
            div.link #link data-link="waiting" { dt { "Live" } dd { i {} span #link-text { "connecting" } } }
        }
    }
}

fn drawing(state: &DemoState) -> Markup {
    let drawing = map::drawing();
    let inset = map::INSET;
    let oslo = map::OSLO;
    let scale = inset.width / oslo.width;
    let enlarged = format!("translate({} {}) scale({scale}) translate({} {})", inset.left, inset.top, -oslo.left, -oslo.top);
    html! {
        figure.map #map {
            svg viewBox=(format!("0 0 {} {}", map::WIDTH, map::HEIGHT)) role="group"
                aria-label="Norway's hospitals; arrow keys go from one to the next" {
                defs {
                    clipPath id="inset-clip" { rect x=(inset.left) y=(inset.top) width=(inset.width) height=(inset.height) rx="26" {} }
                }
                text.water x="70" y="190" aria-hidden="true" { "SYNTHETIC" }
                g.land aria-hidden="true" { @for county in &drawing.counties { path d=(county.path) {} } }
                g.inset aria-hidden="true" {
                    path.guide d=(format!("M{} {}L{} {}M{} {}L{} {}",
                        oslo.left + oslo.width, oslo.top, inset.left, inset.top + 26.0,
                        oslo.left + oslo.width, oslo.top + oslo.height, inset.left, inset.top + inset.height - 26.0)) {}
                    rect.frame x=(oslo.left) y=(oslo.top) width=(oslo.width) height=(oslo.height) {}
                    rect.sea x=(inset.left) y=(inset.top) width=(inset.width) height=(inset.height) rx="26" {}
                    g.land clip-path="url(#inset-clip)" {
                        g transform=(enlarged) { @for county in &drawing.inset { path d=(county.path) {} } }
                    }
                    rect.edge x=(inset.left) y=(inset.top) width=(inset.width) height=(inset.height) rx="26" {}
                    text.label x=(inset.left + 34.0) y=(inset.top + 74.0) { "Oslo" }
                }
                g #rings aria-hidden="true" {}
                g #dots {
                    @for (index, (hospital, dot)) in hospitals().iter().zip(map::dots()).enumerate() {
                        @let count = state.hospitals.get(index).copied().unwrap_or(0);
                        (hospital_dot(index, hospital.name, map::county_name(hospital.county), *dot, count))
                    }
                }
            }
            div.tip #tip hidden aria-hidden="true" { strong lang="nb" {} span lang="nb" {} b {} }
            figcaption {
                ul.legend {
                    @for (kind, name) in KINDS { li data-kind=(kind) { i {} (name) } }
                    li data-kind="assessment" { i {} "Controls" }
                }
            }
        }
    }
}

fn hospital_dot(index: usize, name: &str, county: &str, dot: Dot, count: u64) -> Markup {
    html! {
        g.dot data-hospital=(index) data-name=(name) data-county=(county) transform=(format!("translate({:.0} {:.0})", dot.x, dot.y))
            role="img" lang="nb" tabindex=(if index == 0 { "0" } else { "-1" }) aria-label=(format!("{name}, {county}: {count}")) {
            circle.hit r="46" {}
            circle.core r=(format!("{:.1}", radius(count))) {}
        }
    }
}

/// Radius of a dot in units: area grows with the count. The script has the same formula.
fn radius(count: u64) -> f64 {
    (14.0 + 1.7 * (count as f64).sqrt()).min(40.0)
}

fn freshness(state: &DemoState) -> Markup {
    let fresh = &state.freshness;
    let figures = [("p50", "median", fresh.p50_ms), ("p99", "99th percentile", fresh.p99_ms), ("max", "longest", fresh.max_ms)];
    let shown = |ms: f64| if fresh.samples == 0 { "–".to_owned() } else { milliseconds(ms) };
    html! {
        section.card.fresh aria-labelledby="fresh-title" {
            header { h2 #fresh-title { "From the hospital’s commit to the first answer that holds it" } }
            div.figures {
                @for (name, what, value) in figures {
                    p.figure { b data-ms=(format!("freshness.{name}_ms")) { (shown(value)) } " " small { "ms" } span { (what) } }
                }
                p.figure.stale #stale data-bad[fresh.stale > 0] {
                    b data-number="freshness.stale" { (grouped(fresh.stale)) }
                    span { "stale of " span data-number="freshness.samples" { (grouped(fresh.samples)) } }
                }
                p.figure.today { b { "5–8" } " " small { "months" } span { "what an applicant waits today" } }
            }
            svg.strip #strip viewBox="0 0 720 54" aria-hidden="true" {
                @for (power, label) in ["0.1 ms", "1 ms", "10 ms", "100 ms", "1 s"].iter().enumerate() {
                    line x1=(strip_x(power)) x2=(strip_x(power)) y1="2" y2="36" {}
                    text x=(strip_x(power)) y="51" { (label) }
                }
                g #samples {}
            }
        }
    }
}

/// Where a power of ten stands on the strip: 0.1 ms at 20, 1 s at 690.
fn strip_x(power: usize) -> f64 {
    20.0 + 167.5 * power as f64
}

fn authority(state: &DemoState) -> Markup {
    let view = &state.authority;
    html! {
        article.card aria-labelledby="authority-title" {
            header { h2 #authority-title { "Public authority" } span.badge.live { "live" } }
            p.basis { "Statutory register · everyone, pseudonymised" }
            p.hero { b data-number="authority.last_minute" { (grouped(view.last_minute)) } span { "treatments in the last minute" } }
            (bars("authority", &view.by_kind))
            details {
                summary { "Rows per table" }
                dl.tables #tables { @for table in &view.tables { div { dt { (table.table) } dd { (grouped(table.rows)) } } } }
            }
            p.foot { "at commit " span data-number="authority.commit" { (grouped(view.commit)) } }
        }
    }
}

fn study(state: &DemoState) -> Markup {
    let view = &state.study;
    html! {
        article.card aria-labelledby="study-title" {
            header { h2 #study-title { "Company: study" } span.badge.live { "live" } }
            p.basis { "Trial protocol · " span lang="nb" data-text="study.title" { (view.title) } }
            p.hero {
                b data-number="study.subjects" { (grouped(view.subjects)) }
                span { "subjects at " span data-number="study.sites" { (grouped(view.sites)) } " hospitals" }
            }
            (bars("study", &view.by_kind))
            p.line {
                span data-number="study.rows" { (grouped(view.rows)) } " rows · "
                span data-number="study.last_minute" { (grouped(view.last_minute)) } " treatments in the last minute"
            }
            p.foot { "at commit " span data-number="study.commit" { (grouped(view.commit)) } }
        }
    }
}

fn bars(view: &str, counts: &[KindCount]) -> Markup {
    html! {
        table.bars data-bars=(view) {
            caption.unseen { "Treatments by kind" }
            tbody {
                @for (kind, name) in KINDS {
                    @let count = counts.iter().find(|entry| entry.kind == kind).map_or(0, |entry| entry.count);
                    tr data-kind=(kind) { th scope="row" { (name) } td.bar aria-hidden="true" { i {} } td.count { (grouped(count)) } }
                }
            }
        }
    }
}

fn statistics(state: &DemoState) -> Markup {
    let view = &state.statistics;
    html! {
        article.card aria-labelledby="statistics-title" {
            header { h2 #statistics-title { "Company: statistics" } span.badge { "epoch" } }
            p.basis { "EHDS data request · persons by kind of treatment" }
            p.hero { b #next { (format!("{:.0}", view.next_s)) } span { "seconds to the next epoch" } }
            div.epoch aria-hidden="true" { i #epoch-bar {} }
            table.cells #cells {
                caption.unseen { "Persons by kind of treatment" }
                tbody {
                    @for (kind, name) in KINDS {
                        @let persons = view.cells.iter().find(|cell| cell.kind == kind).map_or("–", |cell| cell.persons.as_str());
                        tr data-kind=(kind) { th scope="row" { (name) } td { (persons) } }
                    }
                }
            }
            p.line { "– is a number that is not shown: it is small, or close to another" }
            p.foot { "epoch " span data-text="statistics.epoch" { (view.epoch) } }
        }
    }
}

/// Operations have Norwegian texts (NCSP); the other codes that arrive have English ones.
fn norwegian(kind: Kind) -> Option<&'static str> {
    (kind == Kind::Surgery).then_some("nb")
}

fn arrivals(state: &DemoState) -> Markup {
    html! {
        section.card.arrivals aria-labelledby="arrivals-title" {
            header { h2 #arrivals-title { "Arriving" } p.aside { "each a FHIR transaction under that hospital’s own token" } }
            ol #arrivals {
                @for arrival in state.latest.iter().rev().take(LISTED) {
                    li data-kind=(arrival.kind.name()) {
                        time { (arrival.time) }
                        i aria-hidden="true" {}
                        span.what lang=[norwegian(arrival.kind)] { (arrival.display) " " code { (arrival.code) } }
                        span.where lang="nb" { (hospitals().get(arrival.hospital).map_or("", |hospital| hospital.name)) }
                    }
                }
            }
        }
    }
}

fn audit(state: &DemoState) -> Markup {
    let checkpoint = &state.audit;
    html! {
        section.card.audit aria-labelledby="audit-title" {
            header { h2 #audit-title { "Every access on record" } p.aside { a href="/audit/checkpoint" { "newest checkpoint" } } }
            p.line {
                b data-number="audit.size" { (grouped(checkpoint.size)) } " entries, signed "
                span data-text="audit.time" { (checkpoint.time) } " by " span data-text="audit.origin" { (checkpoint.origin) }
            }
            p.root { code data-text="audit.root" { (checkpoint.root) } }
        }
    }
}

fn hospital_table(state: &DemoState) -> Markup {
    html! {
        details.hospitals {
            summary { "The drawing as a table" }
            table #hospitals {
                caption { "Treatments since the demo began" }
                thead { tr { th scope="col" { "Hospital" } th scope="col" { "County" } th scope="col" { "Treatments" } } }
                tbody {
                    @for (index, hospital) in hospitals().iter().enumerate() {
                        tr {
                            th scope="row" lang="nb" { (hospital.name) }
                            td lang="nb" { (map::county_name(hospital.county)) }
                            td { (grouped(state.hospitals.get(index).copied().unwrap_or(0))) }
                        }
                    }
                }
            }
        }
    }
}
