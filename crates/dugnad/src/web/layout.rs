//! What all pages have in common.

use maud::{DOCTYPE, Markup, html};

/// A page. `synthetic` puts the mark on it that no demo page may be without.
pub(super) fn page(title: &str, synthetic: bool, script: Option<&str>, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { @if synthetic { "SYNTHETIC · " } (title) }
                link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/assets/style.css";
                @if let Some(script) = script { script src=(script) defer {} }
            }
            body {
                a.skip href="#content" { "Skip to content" }
                @if synthetic { (mark()) }
                (body)
            }
        }
    }
}

fn mark() -> Markup {
    html! {
        p.synthetic role="note" {
            strong { "Synthetic" }
            span { "Every patient here is made up." span.more { " No number belongs to a person." } }
        }
    }
}

/// The wordmark: many strokes, one work.
pub(super) fn wordmark() -> Markup {
    html! {
        svg.wordmark viewBox="0 0 32 32" aria-hidden="true" {
            path d="M5 27V17M12 27V11M19 27V5" {}
            path.roof d="M3 9.5 16 3l13 6.5" {}
            path d="M26 27V14" {}
        }
    }
}

/// A whole number with narrow no-break spaces between thousands (SI style).
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3 * 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// Milliseconds with about three significant digits.
pub(super) fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.2}"),
        ms if ms < 100.0 => format!("{ms:.1}"),
        ms => grouped(ms.round() as u64),
    }
}
