//! The formats of FHIR's primitive types (R4, section 2.24.0.1), checked by hand: one pass, no regular expressions.

use super::json::Value;

#[cfg(test)]
mod tests;

/// A primitive type of R4, and three that occur in one place only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Primitive {
    /// base64Binary
    Base64Binary,
    /// boolean
    Boolean,
    /// canonical
    Canonical,
    /// code
    Code,
    /// date
    Date,
    /// dateTime
    DateTime,
    /// decimal
    Decimal,
    /// id
    Id,
    /// instant
    Instant,
    /// integer
    Integer,
    /// markdown
    Markdown,
    /// oid
    Oid,
    /// positiveInt
    PositiveInt,
    /// string
    String,
    /// time
    Time,
    /// unsignedInt
    UnsignedInt,
    /// uri
    Uri,
    /// url
    Url,
    /// uuid
    Uuid,
    /// xhtml, of `Narrative.div`
    Xhtml,
    /// `Element.id`: a string without whitespace; an XML attribute, so it has no extensions
    ElementId,
    /// `Extension.url`: a uri; an XML attribute, so it has no extensions
    ExtensionUrl,
    /// The member `resourceType` of a resource in JSON
    ResourceType,
}

/// Name in the table of definitions, type, and what a value must look like.
const PRIMITIVES: &[(&str, Primitive, &str)] = &[
    ("base64Binary", Primitive::Base64Binary, "a string of base64 (RFC 4648) in groups of four characters"),
    ("boolean", Primitive::Boolean, "true or false, without quotes"),
    ("canonical", Primitive::Canonical, "a string that is a canonical URL, not empty and without whitespace"),
    ("code", Primitive::Code, "a string, not empty, without whitespace other than single spaces between words"),
    ("date", Primitive::Date, "a string YYYY, YYYY-MM or YYYY-MM-DD that is a real date"),
    (
        "dateTime",
        Primitive::DateTime,
        "a string YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss[.fff] with a zone (Z or +hh:mm) that is a real date and time",
    ),
    ("decimal", Primitive::Decimal, "a number, without quotes"),
    ("id", Primitive::Id, "a string of 1 to 64 letters A-Z and a-z, digits, `-` and `.`"),
    ("instant", Primitive::Instant, "a string YYYY-MM-DDThh:mm:ss[.fff] with a zone (Z or +hh:mm) that is a real date and time"),
    ("integer", Primitive::Integer, "a whole number from -2147483648 to 2147483647, without quotes, fraction or exponent"),
    ("markdown", Primitive::Markdown, "a string, not empty, at most 1 MiB, without control characters other than tab and line ends"),
    ("oid", Primitive::Oid, "a string urn:oid: followed by an OID"),
    ("positiveInt", Primitive::PositiveInt, "a whole number from 1 to 2147483647, without quotes, fraction or exponent"),
    ("string", Primitive::String, "a string, not empty, at most 1 MiB, without control characters other than tab and line ends"),
    ("time", Primitive::Time, "a string hh:mm:ss[.fff]"),
    ("unsignedInt", Primitive::UnsignedInt, "a whole number from 0 to 2147483647, without quotes, fraction or exponent"),
    ("uri", Primitive::Uri, "a string that is a URI, not empty and without whitespace"),
    ("url", Primitive::Url, "a string that is a URL, not empty and without whitespace"),
    ("uuid", Primitive::Uuid, "a string urn:uuid: followed by a UUID in lower case"),
    (
        "xhtml",
        Primitive::Xhtml,
        "a string that is one XHTML <div> with balanced tags, without scripts, forms, frames, objects and document types",
    ),
    ("elementId", Primitive::ElementId, "a string, not empty and without whitespace"),
    ("extensionUrl", Primitive::ExtensionUrl, "a string that is a URI, not empty and without whitespace"),
    ("resourceType", Primitive::ResourceType, "a string that names a resource type"),
];

/// FHIR R4, 2.24.0.1: strings hold at most 1 MiB characters. (Not a bound of ours, which is why it is not in `limits`.)
const MAX_STRING_CHARS: usize = 1 << 20;

impl Primitive {
    /// The primitive type of that name, `elementId`, `extensionUrl` and `resourceType` included.
    pub fn from_name(name: &str) -> Option<Self> {
        PRIMITIVES.iter().find(|(n, ..)| *n == name).map(|(_, primitive, _)| *primitive)
    }

    /// The name of the type: `dateTime`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ElementId => "string",
            Self::ExtensionUrl => "uri",
            Self::ResourceType => "code",
            _ => self.row().0,
        }
    }

    /// What a value must look like, to be read after "expected".
    pub fn expected(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> &'static (&'static str, Self, &'static str) {
        &PRIMITIVES[self as usize] // a test holds that the table has the order of the variants
    }

    /// Whether values may have a sibling `_name` with id and extensions.
    pub fn has_sibling(self) -> bool {
        !matches!(self, Self::Xhtml | Self::ElementId | Self::ExtensionUrl | Self::ResourceType)
    }

    /// Whether values are URIs that a transaction may have to rewrite (R4, section 3.1.0.11.2).
    pub fn is_link(self) -> bool {
        matches!(self, Self::Uri | Self::Url | Self::Oid | Self::Uuid | Self::Canonical)
    }

    /// Whether a JSON value has the type's JSON type and format.
    pub fn accepts(self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Self::Boolean, Value::Boolean(_)) | (Self::Decimal, Value::Number(_)) => true,
            (Self::Integer, Value::Number(text)) => is_integer(text),
            (Self::PositiveInt, Value::Number(text)) => is_integer(text) && !text.starts_with('-') && *text != "0",
            (Self::UnsignedInt, Value::Number(text)) => is_integer(text) && !text.starts_with('-'),
            (_, Value::String(text)) => self.accepts_text(text.as_bytes()),
            _ => false,
        }
    }

    fn accepts_text(self, text: &[u8]) -> bool {
        match self {
            Self::String | Self::Markdown => is_string(text),
            Self::Code => is_code(text),
            Self::Uri | Self::Url | Self::Canonical | Self::ElementId | Self::ExtensionUrl => is_uri(text),
            Self::Date => date(text) == Some(&[]),
            Self::DateTime => is_date_time(text),
            Self::Instant => is_instant(text),
            Self::Time => time(text) == Some(&[]),
            Self::Id => is_id(text),
            Self::Base64Binary => is_base64(text),
            Self::Oid => text.strip_prefix(b"urn:oid:").is_some_and(is_oid),
            Self::Uuid => text.strip_prefix(b"urn:uuid:").is_some_and(is_uuid),
            Self::Xhtml => is_xhtml(text),
            Self::ResourceType => !text.is_empty(),
            Self::Boolean | Self::Decimal | Self::Integer | Self::PositiveInt | Self::UnsignedInt => false,
        }
    }
}

/// `[A-Za-z0-9\-\.]{1,64}`
pub(crate) fn is_id(text: &[u8]) -> bool {
    (1..=64).contains(&text.len()) && text.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
}

/// The text is a JSON number already; what is left is no fraction, no exponent, and 32 bits.
fn is_integer(text: &str) -> bool {
    text.parse::<i32>().is_ok()
}

fn is_string(text: &[u8]) -> bool {
    let control = |b: &u8| *b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r');
    // A fold over the whole text, not `any`, which stops early and so is not vectorised.
    let fits = text.len() <= MAX_STRING_CHARS || text.iter().filter(|b| **b & 0xc0 != 0x80).count() <= MAX_STRING_CHARS;
    !text.is_empty() && fits && !text.iter().fold(false, |bad, b| bad | control(b))
}

/// The regular expression lets any single whitespace separate words; the text says "no whitespace other than single spaces".
fn is_code(text: &[u8]) -> bool {
    let mut before = b' ';
    for b in text {
        if *b < 0x20 || (*b == b' ' && before == b' ') {
            return false;
        }
        before = *b;
    }
    before != b' '
}

fn is_uri(text: &[u8]) -> bool {
    !text.is_empty() && !text.iter().fold(false, |bad, b| bad | (*b <= 0x20))
}

fn is_oid(text: &[u8]) -> bool {
    let mut arcs = text.split(|b| *b == b'.');
    let root = arcs.next().is_some_and(|first| matches!(first, b"0" | b"1" | b"2"));
    let number = |arc: &[u8]| arc == b"0" || (arc.first().is_some_and(|b| *b != b'0') && arc.iter().all(u8::is_ascii_digit));
    root && text.len() > 1 && arcs.all(number)
}

fn is_uuid(text: &[u8]) -> bool {
    let dash = |i: usize| matches!(i, 8 | 13 | 18 | 23);
    text.len() == 36 && text.iter().enumerate().all(|(i, b)| if dash(i) { *b == b'-' } else { matches!(b, b'0'..=b'9' | b'a'..=b'f') })
}

/// Groups of four characters, whitespace between groups only; `=` at the end only.
fn is_base64(text: &[u8]) -> bool {
    let (mut count, mut padding) = (0_usize, 0_usize);
    for b in text {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if padding == 0 => count += 1,
            b'=' => {
                count += 1;
                padding += 1;
            }
            b' ' | b'\t' | b'\n' | b'\r' if count.is_multiple_of(4) => {}
            _ => return false,
        }
    }
    count > 0 && count.is_multiple_of(4) && padding <= 2
}

/// `expected` at the start of `text`, and what comes after it.
fn literal(text: &[u8], expected: u8) -> Option<&[u8]> {
    text.split_first().filter(|(first, _)| **first == expected).map(|(_, rest)| rest)
}

/// `N` digits at the start of `text` as a number, and what comes after them.
fn digits<const N: usize>(text: &[u8]) -> Option<(u32, &[u8])> {
    let (head, rest) = text.split_first_chunk::<N>()?;
    let mut number = 0;
    for b in head {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + u32::from(digit);
    }
    Some((number, rest))
}

fn days_in(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 31,
    }
}

/// A date of any precision at the start of `text`, and what comes after it.
fn date(text: &[u8]) -> Option<&[u8]> {
    let (year, rest) = digits::<4>(text).filter(|(year, _)| *year > 0)?;
    let Some(rest) = literal(rest, b'-') else { return Some(rest) };
    let (month, rest) = digits::<2>(rest).filter(|(month, _)| (1..=12).contains(month))?;
    let Some(rest) = literal(rest, b'-') else { return Some(rest) };
    let (_, rest) = digits::<2>(rest).filter(|(day, _)| (1..=days_in(year, month)).contains(day))?;
    Some(rest)
}

/// A time at the start of `text`, and what comes after it. A leap second is allowed in any minute, as in FHIR's own
/// expression: when one happened is not a matter of form.
fn time(text: &[u8]) -> Option<&[u8]> {
    let (_, rest) = digits::<2>(text).filter(|(hour, _)| *hour < 24)?;
    let (_, rest) = digits::<2>(literal(rest, b':')?).filter(|(minute, _)| *minute < 60)?;
    let (_, rest) = digits::<2>(literal(rest, b':')?).filter(|(second, _)| *second <= 60)?;
    let Some(fraction) = literal(rest, b'.') else { return Some(rest) };
    let length = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
    if length == 0 { None } else { fraction.get(length..) }
}

fn is_zone(text: &[u8]) -> bool {
    if text == b"Z" {
        return true;
    }
    let offset = || {
        let (hours, rest) = digits::<2>(text.strip_prefix(b"+").or_else(|| text.strip_prefix(b"-"))?)?;
        let (minutes, rest) = digits::<2>(literal(rest, b':')?)?;
        Some(rest.is_empty() && minutes < 60 && (hours < 14 || (hours == 14 && minutes == 0)))
    };
    offset().unwrap_or(false)
}

fn is_date_time(text: &[u8]) -> bool {
    date(text).is_some_and(|rest| rest.is_empty()) || is_instant(text)
}

fn is_instant(text: &[u8]) -> bool {
    let Some((day, after)) = text.split_at_checked(10) else { return false };
    date(day) == Some(&[]) && literal(after, b'T').and_then(time).is_some_and(is_zone)
}

/// What the specification keeps out of a narrative because it acts rather than shows (R4, section 2.4.0).
const ACTIVE: &[&[u8]] = &[
    b"script",
    b"form",
    b"input",
    b"button",
    b"select",
    b"textarea",
    b"iframe",
    b"frame",
    b"frameset",
    b"object",
    b"embed",
    b"applet",
    b"base",
    b"link",
    b"meta",
    b"head",
    b"body",
    b"html",
];

/// One `<div>` from start to end, tags balanced by number, no active elements, no document type. Attributes and the
/// names of closing tags are not looked at: whoever shows a narrative must sanitise it all the same.
fn is_xhtml(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    let starts = text.strip_prefix(b"<div").and_then(<[u8]>::first).is_some_and(|b| b.is_ascii_whitespace() || matches!(b, b'>' | b'/'));
    starts && has_balanced_tags(text).unwrap_or(false)
}

fn has_balanced_tags(text: &[u8]) -> Option<bool> {
    let (mut rest, mut depth) = (text, 0_usize);
    loop {
        let tag = rest.get(memchr::memchr(b'<', rest)? + 1..)?;
        if let Some(comment) = tag.strip_prefix(b"!--") {
            rest = comment.get(memchr::memmem::find(comment, b"-->")? + 3..)?;
            continue;
        }
        let end = tag_end(tag)?;
        let inside = tag.get(..end)?;
        rest = tag.get(end + 1..)?;
        match inside.first()? {
            b'/' => depth = depth.checked_sub(1)?,
            first if first.is_ascii_alphabetic() => {
                let name = inside.split(|b| b.is_ascii_whitespace() || *b == b'/').next()?;
                if ACTIVE.iter().any(|active| active.eq_ignore_ascii_case(name)) {
                    return None;
                }
                depth += usize::from(!inside.ends_with(b"/"));
            }
            _ => return None,
        }
        if depth == 0 {
            return Some(rest.is_empty());
        }
    }
}

/// Where the tag ends: the first `>` outside quotes.
fn tag_end(tag: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr3(b'>', b'"', b'\'', tag.get(at..)?)?;
        let found = *tag.get(at)?;
        if found == b'>' {
            return Some(at);
        }
        at += 2 + memchr::memchr(found, tag.get(at + 1..)?)?;
    }
}
