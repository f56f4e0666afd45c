//! What a narrative may say (R4, section 2.4.0; txt-1 and txt-2, whose FHIRPath is `htmlChecks()`).
//!
//! [`super::primitive`] has looked whether it is one well-formed `<div>` without active content.

/// The elements of chapters 7 to 11 (but section 4 of 9) and 15 of HTML 4.0, `a`, and images.
#[rustfmt::skip]
const ELEMENTS: [&[u8]; 61] = [
    b"a", b"abbr", b"acronym", b"address", b"area", b"b", b"bdo", b"big", b"blockquote", b"br", b"caption", b"center", b"cite", b"code",
    b"col", b"colgroup", b"dd", b"del", b"dfn", b"dir", b"div", b"dl", b"dt", b"em", b"font", b"h1", b"h2", b"h3", b"h4", b"h5", b"h6",
    b"hr", b"i", b"img", b"ins", b"kbd", b"li", b"map", b"ol", b"p", b"pre", b"q", b"s", b"samp", b"small", b"span", b"strike", b"strong",
    b"sub", b"sup", b"table", b"tbody", b"td", b"tfoot", b"th", b"thead", b"tr", b"tt", b"u", b"ul", b"var",
];

/// txt-1: basic elements only, and no attribute that makes something happen.
pub(super) fn is_basic(text: &str) -> bool {
    tags(text.as_bytes()).all(|tag| {
        let name = tag.split(|b| b.is_ascii_whitespace() || *b == b'/').find(|part| !part.is_empty()).unwrap_or_default();
        let known = ELEMENTS.iter().any(|element| element.eq_ignore_ascii_case(name));
        known && !attributes(tag).any(is_active)
    })
}

/// txt-2: it has some content: text, or an image.
pub(super) fn has_content(text: &str) -> bool {
    let (mut rest, mut any) = (text.as_bytes(), false);
    while let Some((before, tag)) = split_at(rest, b'<') {
        any |= before.iter().any(|b| !b.is_ascii_whitespace());
        any |= tag.get(..3).is_some_and(|name| name.eq_ignore_ascii_case(b"img"));
        let Some((_, after)) = end_of_tag(tag) else { break };
        rest = after;
    }
    any
}

/// The insides of opening tags and of those that are alone: `div class="x"`.
fn tags(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let (_, tag) = split_at(rest, b'<')?;
            let (inside, after) = end_of_tag(tag)?;
            rest = after;
            if !inside.starts_with(b"!--") && !inside.starts_with(b"/") {
                return Some(inside);
            }
        }
    })
}

fn split_at(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(byte, text)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// The inside of a tag or comment, and what comes after it.
fn end_of_tag(tag: &[u8]) -> Option<(&[u8], &[u8])> {
    if tag.starts_with(b"!--") {
        let at = memchr::memmem::find(tag, b"-->")?;
        return Some((tag.get(..at)?, tag.get(at + 3..)?));
    }
    let mut at = 0;
    loop {
        at += memchr::memchr3(b'>', b'"', b'\'', tag.get(at..)?)?;
        let found = *tag.get(at)?;
        if found == b'>' {
            return Some((tag.get(..at)?, tag.get(at + 1..)?));
        }
        at += 2 + memchr::memchr(found, tag.get(at + 1..)?)?;
    }
}

/// Names of attributes with their values, quotes left out.
fn attributes(tag: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = tag;
    std::iter::from_fn(move || {
        let (before, after) = split_at(rest, b'=')?;
        let name = before.trim_ascii().rsplit(|b| b.is_ascii_whitespace()).next()?;
        let after = after.trim_ascii_start();
        let quote = *after.first()?;
        let (value, next) = match quote {
            b'"' | b'\'' => split_at(after.get(1..)?, quote)?,
            _ => split_at(after, b' ').unwrap_or((after, &[])),
        };
        rest = next;
        Some((name, value))
    })
}

/// Whether an attribute makes something happen: an event's, or a script as an address.
fn is_active((name, value): (&[u8], &[u8])) -> bool {
    let begins = |text: &[u8], with: &[u8]| text.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    begins(name, b"on") || begins(value.trim_ascii(), b"javascript:")
}
