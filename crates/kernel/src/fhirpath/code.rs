//! What an expression is compiled to.

use super::syntax::Literal;
use super::types::{DataType, TypeName};

/// A compiled expression: names resolved, types looked up, paths gathered into steps.
#[derive(Clone, Debug)]
pub(super) enum Code {
    This,
    /// `$index`
    Index,
    /// `%resource`
    Resource,
    /// `%context`
    Context,
    /// `%rowIndex`
    RowIndex,
    /// `{}`
    Nothing,
    Literal(Literal),
    /// A chain of member names.
    Path {
        from: Box<Code>,
        steps: Vec<Step>,
    },
    Filter {
        from: Box<Code>,
        filter: Filter,
    },
    /// One item of a collection, or a part of it.
    Pick {
        from: Box<Code>,
        pick: Pick,
        at: usize,
    },
    /// Two collections to one.
    Combine {
        kind: Combine,
        left: Box<Code>,
        right: Box<Code>,
    },
    /// A collection to a single value.
    Summary {
        from: Box<Code>,
        summary: Summary,
    },
    Lambda {
        from: Box<Code>,
        lambda: Lambda,
        body: Box<Code>,
        at: usize,
    },
    /// `iif(condition, then, otherwise)`
    If {
        condition: Box<Code>,
        then: Box<Code>,
        otherwise: Box<Code>,
        at: usize,
    },
    /// `from = 'text'`, the commonest condition
    EqualText {
        from: Box<Code>,
        text: Box<str>,
    },
    Binary {
        operator: Operator,
        left: Box<Code>,
        right: Box<Code>,
        at: usize,
    },
    Negate {
        of: Box<Code>,
        at: usize,
    },
    Is {
        of: Box<Code>,
        name: TypeName,
        at: usize,
    },
    /// A function of one item and its arguments.
    Scalar {
        function: Function,
        from: Box<Code>,
        arguments: Vec<Code>,
        at: usize,
    },
    /// `matches()` and its like, the pattern compiled
    Pattern {
        from: Box<Code>,
        pattern: regex::Regex,
        replacement: Option<Box<Code>>,
        at: usize,
    },
    ResourceKey(Box<Code>),
    ReferenceKey {
        from: Box<Code>,
        resource_type: Option<&'static str>,
    },
    /// `resolve() is Type`: whether a Reference, canonical or URL is to a resource of that type, as far as it says so itself.
    ResolvesTo {
        from: Box<Code>,
        resource_type: &'static str,
        at: usize,
    },
    /// The first of them that is not empty.
    Coalesce(Vec<Code>),
    Join {
        from: Box<Code>,
        separator: Box<Code>,
        at: usize,
    },
    Children {
        from: Box<Code>,
        deep: bool,
    },
}

/// One name of a path.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) name: Box<str>,
    /// Whether `name[x]` exists in FHIR, and which of its types are wanted.
    pub(super) choice: Choice,
    /// `_name`, where the extensions of a primitive element are wanted too.
    pub(super) shadow: Option<Box<str>>,
}

/// The variants of a choice element that a step takes.
#[derive(Clone, Debug)]
pub(super) enum Choice {
    /// It is no choice element.
    No,
    /// Any.
    Any,
    /// `value.ofType(Quantity)`: these.
    Only(Vec<&'static DataType>),
}

/// Which items of a collection go on.
#[derive(Clone, Debug)]
pub(super) enum Filter {
    OfType(TypeName),
    /// `distinct()`
    Distinct,
    /// `hasValue()` as a filter: `getValue()`
    Values,
}

/// Which part of a collection is taken.
#[derive(Clone, Debug)]
pub(super) enum Pick {
    First,
    Last,
    Tail,
    /// The only one; more are an error.
    Single,
    /// `[n]`
    At(Box<Code>),
    Skip(Box<Code>),
    Take(Box<Code>),
}

/// How two collections become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Combine {
    Union,
    Append,
    Intersect,
    Exclude,
}

/// What is said of a whole collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Summary {
    Exists,
    Empty,
    Count,
    /// Of no item or one boolean.
    Not {
        at: usize,
    },
    AllTrue {
        at: usize,
    },
    AnyTrue {
        at: usize,
    },
    AllFalse {
        at: usize,
    },
    AnyFalse {
        at: usize,
    },
    IsDistinct,
    /// One item, and it is a primitive.
    HasValue,
}

/// A function whose argument is evaluated for each item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lambda {
    Where,
    Select,
    Repeat,
    All,
    Exists,
}

/// A binary operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    And,
    Or,
    Xor,
    Implies,
    Equal,
    NotEqual,
    Equivalent,
    NotEquivalent,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// `left in right`
    In,
    /// `left contains right`
    Contains,
    /// `left.subsetOf(right)`
    SubsetOf,
    /// `left.supersetOf(right)`
    SupersetOf,
    Add,
    Subtract,
    Multiply,
    Divide,
    Div,
    Mod,
    /// `&`
    Concatenate,
}

/// A function of a single item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    StartsWith,
    EndsWith,
    Contains,
    IndexOf,
    LastIndexOf,
    Substring,
    Replace,
    Length,
    Upper,
    Lower,
    Trim,
    Split,
    ToChars,
    Abs,
    Ceiling,
    Floor,
    Round,
    Truncate,
    Sqrt,
    Exp,
    Ln,
    Log,
    Power,
    Encode,
    Decode,
    LowBoundary,
    HighBoundary,
    /// `toString()` and its like; with `test`, `convertsToString()` and its like.
    Convert {
        to: super::types::Class,
        test: bool,
    },
    /// `toQuantity()`; with `test`, `convertsToQuantity()`.
    ToQuantity {
        test: bool,
    },
}
