//! Tokens to a syntax tree, by precedence climbing (FHIRPath N1, section 6.8).

use super::CompileError;
use super::decimal::Decimal;
use super::lexer::{Token, tokens};
use super::syntax::{Kind, Literal, Node};
use super::temporal::Unit;
use crate::limits::{MAX_FHIRPATH_DEPTH, MAX_FHIRPATH_LENGTH};

/// Parses an expression.
pub(super) fn parse(text: &str) -> Result<Node, CompileError> {
    if text.len() > MAX_FHIRPATH_LENGTH {
        return Err(CompileError { at: 1, what: format!("longer than {MAX_FHIRPATH_LENGTH} bytes") });
    }
    let mut parser = Parser { tokens: tokens(text)?, next: 0, nesting: 0 };
    let node = parser.expression(0)?;
    if *parser.peek() == Token::End { Ok(node) } else { Err(parser.unexpected("an operator or the end")) }
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    next: usize,
    nesting: usize,
}

/// Operators that a type name follows bind at this level.
const TYPE_LEVEL: u8 = 8;

/// How tightly a binary operator binds, and its text.
fn precedence(token: &Token) -> Option<(u8, &'static str)> {
    let operator = match token {
        Token::Symbol(symbol) => match *symbol {
            "=" | "~" | "!=" | "!~" => (5, *symbol),
            "<" | ">" | "<=" | ">=" => (6, *symbol),
            "|" => (7, *symbol),
            "+" | "-" | "&" => (9, *symbol),
            "*" | "/" => (10, *symbol),
            _ => return None,
        },
        Token::Name(word) => match word.as_str() {
            "implies" => (1, "implies"),
            "or" => (2, "or"),
            "xor" => (2, "xor"),
            "and" => (3, "and"),
            "in" => (4, "in"),
            "contains" => (4, "contains"),
            "is" => (TYPE_LEVEL, "is"),
            "as" => (TYPE_LEVEL, "as"),
            "div" => (10, "div"),
            "mod" => (10, "mod"),
            _ => return None,
        },
        _ => return None,
    };
    Some(operator)
}

/// Words that cannot be the name of an element unless they stand in backticks.
fn is_reserved(word: &str) -> bool {
    matches!(word, "div" | "mod" | "and" | "or" | "xor" | "implies" | "true" | "false")
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |(token, _)| token)
    }

    fn position(&self) -> usize {
        self.tokens.get(self.next).or(self.tokens.last()).map_or(1, |(_, at)| *at)
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Token::Symbol(s) if *s == symbol);
        if found {
            self.next += 1;
        }
        found
    }

    fn expect(&mut self, symbol: &str) -> Result<(), CompileError> {
        if self.take_symbol(symbol) { Ok(()) } else { Err(self.unexpected(&format!("`{symbol}`"))) }
    }

    fn unexpected(&self, wanted: &str) -> CompileError {
        let found = match self.peek() {
            Token::End => "the end".to_owned(),
            Token::Name(text) | Token::Delimited(text) | Token::Number(text) => format!("`{text}`"),
            Token::Symbol(symbol) => format!("`{symbol}`"),
            Token::Text(_) => "a string".to_owned(),
            Token::Date(_) | Token::DateTime(_) | Token::Time(_) => "a date or time".to_owned(),
            Token::Constant(name) => format!("`%{name}`"),
            Token::Special(name) => format!("`${name}`"),
        };
        CompileError { at: self.position(), what: format!("{wanted} was expected here, not {found}") }
    }

    fn node(&self, at: usize, kind: Kind) -> Result<Node, CompileError> {
        let node = Node::new(at, kind);
        if node.depth > MAX_FHIRPATH_DEPTH { Err(too_deep(at)) } else { Ok(node) }
    }

    fn expression(&mut self, lowest: u8) -> Result<Node, CompileError> {
        self.nesting += 1;
        if self.nesting > MAX_FHIRPATH_DEPTH {
            return Err(too_deep(self.position()));
        }
        let mut left = self.unary()?;
        while let Some((level, operator)) = precedence(self.peek()) {
            if level < lowest {
                break;
            }
            let at = self.position();
            self.next += 1;
            let kind = if level == TYPE_LEVEL {
                Kind::Type { operator, of: Box::new(left), name: self.type_name()? }
            } else {
                Kind::Binary { operator, left: Box::new(left), right: Box::new(self.expression(level + 1)?) }
            };
            left = self.node(at, kind)?;
        }
        self.nesting -= 1;
        Ok(left)
    }

    fn type_name(&mut self) -> Result<String, CompileError> {
        let mut name = self.identifier("a type name")?;
        if self.take_symbol(".") {
            name.push('.');
            name.push_str(&self.identifier("a type name")?);
        }
        Ok(name)
    }

    fn identifier(&mut self, wanted: &str) -> Result<String, CompileError> {
        match self.peek() {
            Token::Name(name) if !is_reserved(name) => {}
            Token::Delimited(_) => {}
            _ => return Err(self.unexpected(wanted)),
        }
        match self.take() {
            Token::Name(name) | Token::Delimited(name) => Ok(name),
            _ => Err(self.unexpected(wanted)),
        }
    }

    fn unary(&mut self) -> Result<Node, CompileError> {
        let at = self.position();
        let mut negative = false;
        let mut signed = false;
        loop {
            if self.take_symbol("-") {
                negative = !negative;
            } else if !self.take_symbol("+") {
                break;
            }
            signed = true;
        }
        let operand = self.postfix()?;
        match (signed, negative) {
            (false, _) => Ok(operand),
            (true, true) => self.node(at, Kind::Negate(Box::new(operand))),
            // `+x` is `-(-x)`: the same number, and an error for what is no number.
            (true, false) => {
                let negated = self.node(at, Kind::Negate(Box::new(operand)))?;
                self.node(at, Kind::Negate(Box::new(negated)))
            }
        }
    }

    fn postfix(&mut self) -> Result<Node, CompileError> {
        let mut node = self.term()?;
        loop {
            if self.take_symbol(".") {
                node = self.invocation(Some(Box::new(node)))?;
            } else if matches!(self.peek(), Token::Symbol("[")) {
                let at = self.position();
                self.next += 1;
                let index = Box::new(self.expression(0)?);
                self.expect("]")?;
                node = self.node(at, Kind::At { from: Box::new(node), index })?;
            } else {
                return Ok(node);
            }
        }
    }

    fn invocation(&mut self, from: Option<Box<Node>>) -> Result<Node, CompileError> {
        let at = self.position();
        if let Token::Special(name) = self.peek() {
            let kind = Kind::Special(name.clone());
            if from.is_some() {
                return Err(self.unexpected("the name of an element or a function"));
            }
            self.next += 1;
            return self.node(at, kind);
        }
        let name = self.identifier("the name of an element or a function")?;
        if !self.take_symbol("(") {
            return self.node(at, Kind::Member { from, name });
        }
        let mut arguments = Vec::new();
        if !self.take_symbol(")") {
            loop {
                arguments.push(self.expression(0)?);
                if !self.take_symbol(",") {
                    break;
                }
            }
            self.expect(")")?;
        }
        self.node(at, Kind::Call { from, name, arguments })
    }

    fn term(&mut self) -> Result<Node, CompileError> {
        let at = self.position();
        if self.take_symbol("(") {
            let node = self.expression(0)?;
            self.expect(")")?;
            return Ok(node);
        }
        if self.take_symbol("{") {
            self.expect("}")?;
            return self.node(at, Kind::Empty);
        }
        let literal = match self.peek() {
            Token::Name(word) if word == "true" || word == "false" => Literal::Boolean(word == "true"),
            Token::Text(text) => Literal::Text(text.clone()),
            Token::Date(text) => Literal::Date(text.clone()),
            Token::DateTime(text) => Literal::DateTime(text.clone()),
            Token::Time(text) => Literal::Time(text.clone()),
            Token::Number(_) => return self.number(),
            Token::Constant(name) => {
                let kind = Kind::Constant(name.clone());
                self.next += 1;
                return self.node(at, kind);
            }
            Token::Name(_) | Token::Delimited(_) | Token::Special(_) => return self.invocation(None),
            _ => return Err(self.unexpected("a value, a name or `(`")),
        };
        self.next += 1;
        self.node(at, Kind::Literal(literal))
    }

    fn number(&mut self) -> Result<Node, CompileError> {
        let at = self.position();
        let Token::Number(text) = self.take() else {
            return Err(self.unexpected("a number"));
        };
        let unit = match self.peek() {
            Token::Text(unit) => Some(unit.clone()),
            Token::Name(word) => Unit::parse(word).map(|unit| unit.name().to_owned()),
            _ => None,
        };
        let decimal = || Decimal::parse(&text).ok_or_else(|| CompileError { at, what: "a decimal of more than 28 digits".to_owned() });
        let literal = if let Some(unit) = unit {
            self.next += 1;
            Literal::Quantity { value: decimal()?.to_string(), unit }
        } else if text.contains('.') {
            Literal::Decimal(decimal()?.to_string())
        } else {
            Literal::Integer(text.parse().map_err(|_| CompileError { at, what: "an integer beyond 64 bits".to_owned() })?)
        };
        self.node(at, Kind::Literal(literal))
    }
}

fn too_deep(at: usize) -> CompileError {
    CompileError { at, what: format!("the expression nests deeper than {MAX_FHIRPATH_DEPTH} levels") }
}
