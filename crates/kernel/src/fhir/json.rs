//! A JSON document as FHIR needs it: member order and the text of numbers are kept, nothing is copied that can be
//! borrowed, and depth and size are bounded.
//!
//! FHIR R4, section 2.6.2: decimals keep their precision (`1.10` is not `1.1`), so a number is its text.

use crate::limits::{MAX_JSON_DEPTH, MAX_JSON_VALUES};
use bumpalo::Bump;
use jiter::{Jiter, JiterError, Peek};
use std::io::{self, Write};

#[cfg(test)]
mod tests;

/// A value in an arena. Cheap to copy: 24 bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// `null`; in FHIR only as a placeholder in arrays of primitives.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// The text of a number as it was written.
    Number(&'a str),
    /// A string, unescaped.
    String(&'a str),
    /// An array.
    Array(&'a [Value<'a>]),
    /// An object: its members in the order they were written, repeated names included.
    Object(&'a [Member<'a>]),
}

/// A name and its value.
pub type Member<'a> = (&'a str, Value<'a>);

/// Why bytes are not a JSON document that we take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON (RFC 8259).
    #[error("not valid JSON at line {line}, column {column}: {what}")]
    Syntax {
        /// 1-based line.
        line: usize,
        /// 1-based column, in bytes.
        column: usize,
        /// What was wrong there.
        what: String,
    },
    /// Nested deeper than [`MAX_JSON_DEPTH`].
    #[error("JSON nests deeper than {MAX_JSON_DEPTH} levels, which no FHIR resource does")]
    TooDeep,
    /// More than [`MAX_JSON_VALUES`] values.
    #[error("the JSON document has more than {MAX_JSON_VALUES} values; split the bundle")]
    TooLarge,
}

impl<'a> Value<'a> {
    /// The first member of that name, if this is an object that has one.
    pub fn get(&self, name: &str) -> Option<Value<'a>> {
        self.members().iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
    }

    /// The members of an object; none for anything else.
    pub fn members(&self) -> &'a [Member<'a>] {
        if let Value::Object(members) = self { members } else { &[] }
    }

    /// The items of an array; none for anything else.
    pub fn items(&self) -> &'a [Value<'a>] {
        if let Value::Array(items) = self { items } else { &[] }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&'a str> {
        if let Value::String(text) = self { Some(text) } else { None }
    }

    /// The text of the string member `name`.
    pub fn str(&self, name: &str) -> Option<&'a str> {
        self.get(name).and_then(|v| v.as_str())
    }

    /// Writes the value as compact JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Value::Null => out.extend_from_slice(b"null"),
            Value::Boolean(true) => out.extend_from_slice(b"true"),
            Value::Boolean(false) => out.extend_from_slice(b"false"),
            Value::Number(text) => out.extend_from_slice(text.as_bytes()),
            Value::String(text) => write_string(text, out),
            Value::Array(items) => {
                out.push(b'[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Value::Object(members) => {
                out.push(b'{');
                for (i, (name, value)) in members.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    write_string(name, out);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }
}

/// Writes `text` as a JSON string, quotes included.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = first_escaped(rest) {
        let (plain, tail) = rest.split_at(at);
        out.extend_from_slice(plain);
        match tail.first() {
            Some(b'"') => out.extend_from_slice(b"\\\""),
            Some(b'\\') => out.extend_from_slice(b"\\\\"),
            Some(b'\n') => out.extend_from_slice(b"\\n"),
            Some(b'\r') => out.extend_from_slice(b"\\r"),
            Some(b'\t') => out.extend_from_slice(b"\\t"),
            Some(control) => {
                let _: io::Result<()> = write!(out, "\\u{control:04x}"); // writing to a Vec cannot fail
            }
            None => {}
        }
        rest = tail.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Where the first byte stands that a JSON string escapes. Most texts have none: they are looked at in pieces that fit a vector
/// register.
fn first_escaped(text: &[u8]) -> Option<usize> {
    const PIECE: usize = 16;
    let escaped = |b: &u8| *b < 0x20 || *b == b'"' || *b == b'\\';
    let plain = |piece: &&[u8]| !piece.iter().fold(false, |any, b| any | escaped(b));
    let from = text.chunks_exact(PIECE).take_while(plain).count() * PIECE;
    text.get(from..)?.iter().position(escaped).map(|at| from + at)
}

/// Parses one JSON document (RFC 8259, UTF-8; a byte order mark is refused).
pub fn parse<'a>(text: &[u8], arena: &'a Bump) -> Result<Value<'a>, JsonError> {
    let mut parser = Parser { text, input: Jiter::new(text), arena, left: MAX_JSON_VALUES, values: Vec::new(), members: Vec::new() };
    let peek = parser.input.peek().map_err(|e| parser.syntax(&e))?;
    let value = parser.value(peek, MAX_JSON_DEPTH)?;
    parser.input.finish().map_err(|e| parser.syntax(&e))?;
    Ok(value)
}

struct Parser<'t, 'a> {
    text: &'t [u8],
    input: Jiter<'t>,
    arena: &'a Bump,
    left: usize,
    // Children of the arrays and objects that are still open; a finished one moves its own into the arena.
    values: Vec<Value<'a>>,
    members: Vec<Member<'a>>,
}

impl<'a> Parser<'_, 'a> {
    fn value(&mut self, peek: Peek, depth: usize) -> Result<Value<'a>, JsonError> {
        self.left = self.left.checked_sub(1).ok_or(JsonError::TooLarge)?;
        match peek {
            Peek::Null => self.input.known_null().map(|()| Value::Null).map_err(|e| self.syntax(&e)),
            Peek::True | Peek::False => self.input.known_bool(peek).map(Value::Boolean).map_err(|e| self.syntax(&e)),
            Peek::String => self.input.known_str().map(|s| Value::String(self.arena.alloc_str(s))).map_err(|e| self.syntax(&e)),
            Peek::Array => self.array(depth.checked_sub(1).ok_or(JsonError::TooDeep)?),
            Peek::Object => self.object(depth.checked_sub(1).ok_or(JsonError::TooDeep)?),
            _ => self.number(peek),
        }
    }

    fn number(&mut self, peek: Peek) -> Result<Value<'a>, JsonError> {
        let arena = self.arena;
        let text = self.input.known_number_bytes(peek).map(|raw| std::str::from_utf8(raw).map(|t| arena.alloc_str(t)));
        match text {
            Ok(Ok(text)) => Ok(Value::Number(text)),
            Ok(Err(_)) => unreachable!("the reader accepts ASCII digits only"),
            Err(e) => Err(self.syntax(&e)),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value<'a>, JsonError> {
        let first = self.values.len();
        let mut next = self.input.known_array().map_err(|e| self.syntax(&e))?;
        while let Some(peek) = next {
            let value = self.value(peek, depth)?;
            self.values.push(value);
            next = self.input.array_step().map_err(|e| self.syntax(&e))?;
        }
        let items = self.arena.alloc_slice_copy(self.values.get(first..).unwrap_or_default());
        self.values.truncate(first);
        Ok(Value::Array(items))
    }

    fn object(&mut self, depth: usize) -> Result<Value<'a>, JsonError> {
        let (first, arena) = (self.members.len(), self.arena);
        let mut name = self.input.known_object().map(|n| n.map(|n| &*arena.alloc_str(n)));
        loop {
            let key = match name {
                Ok(Some(key)) => key,
                Ok(None) => break,
                Err(e) => return Err(self.syntax(&e)),
            };
            let peek = self.input.peek().map_err(|e| self.syntax(&e))?;
            let value = self.value(peek, depth)?;
            self.members.push((key, value));
            name = self.input.next_key().map(|n| n.map(|n| &*arena.alloc_str(n)));
        }
        let members = self.arena.alloc_slice_copy(self.members.get(first..).unwrap_or_default());
        self.members.truncate(first);
        Ok(Value::Object(members))
    }

    fn syntax(&self, error: &JiterError) -> JsonError {
        let before = self.text.get(..error.index).unwrap_or(self.text);
        let line = 1 + memchr::memchr_iter(b'\n', before).count();
        let column = 1 + before.len() - memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
        JsonError::Syntax { line, column, what: error.error_type.to_string() }
    }
}
