//! The syntax tree of an expression.

/// A node, and where it stands in the text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// The position of its first own character (of the operator, the name, the bracket), from 1.
    pub(super) at: usize,
    /// How many nodes lie on the longest way down from here, this one included.
    pub(super) depth: usize,
    pub(super) kind: Kind,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Literal(Literal),
    /// `{}`
    Empty,
    /// `$this`, `$index`, `$total`
    Special(String),
    /// `%name`
    Constant(String),
    /// `from.name`, or `name` alone
    Member {
        from: Option<Box<Node>>,
        name: String,
    },
    /// `from.name(arguments)`, or `name(arguments)` alone
    Call {
        from: Option<Box<Node>>,
        name: String,
        arguments: Vec<Node>,
    },
    /// `from[index]`
    At {
        from: Box<Node>,
        index: Box<Node>,
    },
    /// `-of`
    Negate(Box<Node>),
    /// `left operator right`
    Binary {
        operator: &'static str,
        left: Box<Node>,
        right: Box<Node>,
    },
    /// `of is Type`, `of as Type`
    Type {
        operator: &'static str,
        of: Box<Node>,
        name: String,
    },
}

/// A value that is written in the expression, or a constant.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// A boolean.
    Boolean(bool),
    /// An integer.
    Integer(i64),
    /// A decimal, as text.
    Decimal(String),
    /// A string.
    Text(String),
    /// A date.
    Date(String),
    /// A date, or a date and a time.
    DateTime(String),
    /// A time of day.
    Time(String),
    /// A quantity: `5 'mg'`, or a calendar duration such as `18 years`, whose unit is written in the singular here.
    Quantity {
        /// A decimal, as text.
        value: String,
        /// Of UCUM, or `year` to `millisecond`.
        unit: String,
    },
}

impl Node {
    /// A node above `children`.
    pub(super) fn new(at: usize, kind: Kind) -> Node {
        let below = match &kind {
            Kind::Literal(_) | Kind::Empty | Kind::Special(_) | Kind::Constant(_) => 0,
            Kind::Member { from, .. } => from.as_ref().map_or(0, |n| n.depth),
            Kind::Call { from, arguments, .. } => {
                let arguments = arguments.iter().map(|n| n.depth).max().unwrap_or(0);
                from.as_ref().map_or(0, |n| n.depth).max(arguments)
            }
            Kind::At { from, index } => from.depth.max(index.depth),
            Kind::Negate(of) | Kind::Type { of, .. } => of.depth,
            Kind::Binary { left, right, .. } => left.depth.max(right.depth),
        };
        Node { at, depth: below + 1, kind }
    }
}
