//! Text to tokens (FHIRPath N1, section 12: lexical elements).

use super::{CompileError, temporal::Temporal};

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A name, or a word such as `and`.
    Name(String),
    /// A name in backticks: never a word of the language.
    Delimited(String),
    /// A string literal, unescaped.
    Text(String),
    /// A number literal, as written.
    Number(String),
    /// `@2014-01`, without the `@`.
    Date(String),
    /// `@2014-01-25T14:30`, without the `@` and without a trailing `T`.
    DateTime(String),
    /// `@T14:30`, without the `@T`.
    Time(String),
    /// `%name`
    Constant(String),
    /// `$this` and its like, without the `$`.
    Special(String),
    /// An operator or a bracket.
    Symbol(&'static str),
    /// The end.
    End,
}

const SYMBOLS: [&str; 24] =
    ["!=", "!~", "<=", ">=", "(", ")", "[", "]", "{", "}", ".", ",", "+", "-", "*", "/", "|", "&", "=", "~", "<", ">", ":", ";"];

/// The tokens of `text`, each with the position (in characters, from 1) where it starts. The last is [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, usize)>, CompileError> {
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blanks()?;
        let start = lexer.at;
        let token = lexer.token()?;
        let position = text.get(..start).map_or(0, |t| t.chars().count()) + 1;
        let end = token == Token::End;
        tokens.push((token, position));
        if end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn error(&self, at: usize, what: impl Into<String>) -> CompileError {
        CompileError { at: self.text.get(..at).map_or(0, |t| t.chars().count()) + 1, what: what.into() }
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let taken = rest.get(..rest.find(|c| !wanted(c)).unwrap_or(rest.len())).unwrap_or_default();
        self.at += taken.len();
        taken
    }

    fn skip_blanks(&mut self) -> Result<(), CompileError> {
        loop {
            self.take_while(|c| matches!(c, ' ' | '\t' | '\r' | '\n'));
            if self.rest().starts_with("//") {
                self.take_while(|c| c != '\n');
            } else if self.rest().starts_with("/*") {
                let length = self.rest().find("*/").ok_or_else(|| self.error(self.at, "this comment has no end"))?;
                self.at += length + 2;
            } else {
                return Ok(());
            }
        }
    }

    fn token(&mut self) -> Result<Token, CompileError> {
        let Some(first) = self.rest().chars().next() else {
            return Ok(Token::End);
        };
        match first {
            'a'..='z' | 'A'..='Z' | '_' => Ok(Token::Name(self.name().to_owned())),
            '0'..='9' => Ok(Token::Number(self.number().to_owned())),
            '\'' => self.quoted('\'').map(Token::Text),
            '`' => self.quoted('`').map(Token::Delimited),
            '@' => self.temporal(),
            '%' => self.constant(),
            '$' => {
                self.at += 1;
                Ok(Token::Special(self.name().to_owned()))
            }
            _ => self.symbol(),
        }
    }

    fn symbol(&mut self) -> Result<Token, CompileError> {
        let rest = self.rest();
        let Some(symbol) = SYMBOLS.iter().find(|s| rest.starts_with(**s)) else {
            let character: String = rest.chars().take(1).collect();
            return Err(self.error(self.at, format!("`{character}` has no meaning in FHIRPath")));
        };
        self.at += symbol.len();
        Ok(Token::Symbol(symbol))
    }

    fn name(&mut self) -> &'t str {
        self.take_while(|c| c.is_ascii_alphanumeric() || c == '_')
    }

    fn number(&mut self) -> &'t str {
        let start = self.at;
        self.take_while(|c| c.is_ascii_digit());
        let mut after = self.rest().chars();
        // `1.exists()` is a path on a number, `1.5` a number.
        if after.next() == Some('.') && after.next().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
            self.take_while(|c| c.is_ascii_digit());
        }
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn constant(&mut self) -> Result<Token, CompileError> {
        let start = self.at;
        self.at += 1;
        let name = match self.rest().chars().next() {
            Some(quote @ ('\'' | '`')) => self.quoted(quote)?,
            _ => self.name().to_owned(),
        };
        if name.is_empty() { Err(self.error(start, "a name must follow `%`")) } else { Ok(Token::Constant(name)) }
    }

    fn temporal(&mut self) -> Result<Token, CompileError> {
        let start = self.at;
        self.at += 1;
        let date = self.take_while(|c| c.is_ascii_digit() || c == '-').to_owned();
        let has_time = self.rest().starts_with('T');
        let mut time = String::new();
        if has_time {
            self.at += 1;
            time.push_str(self.take_while(|c| c.is_ascii_digit() || c == ':'));
            let mut after = self.rest().chars();
            if after.next() == Some('.') && after.next().is_some_and(|c| c.is_ascii_digit()) {
                self.at += 1;
                time.push('.');
                time.push_str(self.take_while(|c| c.is_ascii_digit()));
            }
            if !date.is_empty() {
                time.push_str(self.zone());
            }
        }
        let (token, valid) = match (date.is_empty(), has_time, time.is_empty()) {
            (true, true, false) => (Token::Time(time.clone()), Temporal::parse_time(&time).is_some()),
            (false, true, true) => (Token::DateTime(date.clone()), Temporal::parse(&date).is_some()),
            (false, true, false) => {
                let text = format!("{date}T{time}");
                let valid = Temporal::parse(&text).is_some();
                (Token::DateTime(text), valid)
            }
            _ => (Token::Date(date.clone()), Temporal::parse(&date).is_some()),
        };
        if valid { Ok(token) } else { Err(self.error(start, "no date or time as FHIRPath writes it, such as @2014-01-25T14:30:00Z")) }
    }

    fn zone(&mut self) -> &'t str {
        let start = self.at;
        match self.rest().chars().next() {
            Some('Z') => self.at += 1,
            // `@2014-01-25T14:30+02:00` has a zone, `@2014-01-25T14:30 + 2` does not.
            Some('+' | '-') if self.rest().as_bytes().get(1).is_some_and(u8::is_ascii_digit) => {
                self.at += 1;
                self.take_while(|c| c.is_ascii_digit() || c == ':');
            }
            _ => {}
        }
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn quoted(&mut self, quote: char) -> Result<String, CompileError> {
        let start = self.at;
        let mut characters = self.rest().char_indices().skip(1);
        let mut text = String::new();
        while let Some((offset, character)) = characters.next() {
            if character == quote {
                self.at = start + offset + quote.len_utf8();
                return Ok(text);
            }
            if character != '\\' {
                text.push(character);
                continue;
            }
            match characters.next() {
                Some((_, 'u')) => {
                    let digits: String = characters.by_ref().take(4).map(|(_, c)| c).collect();
                    let unescaped = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                    text.push(unescaped.ok_or_else(|| self.error(start + offset, "four hexadecimal digits must follow `\\u`"))?);
                }
                Some((_, escaped)) => {
                    text.push(unescape(escaped).ok_or_else(|| self.error(start + offset, "an escape that FHIRPath does not have"))?)
                }
                None => break,
            }
        }
        Err(self.error(start, format!("this {quote} has no partner")))
    }
}

fn unescape(character: char) -> Option<char> {
    Some(match character {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'f' => '\u{c}',
        '\'' | '"' | '`' | '\\' | '/' => character,
        _ => return None,
    })
}
