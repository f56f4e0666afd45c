//! Every bound on the text and the plan of a question, each with its reason.

/// How long the text of a question may be, in bytes: an IN list of 5,000 codes with room around it.
pub const MAX_SQL_BYTES: usize = 128 << 10;

/// How many tokens a question may have. It bounds how deep a chain such as `a OR b OR ...` becomes as a tree, which is
/// walked and dropped by recursion.
pub const MAX_SQL_TOKENS: usize = 20_000;

/// How deep parentheses, subqueries and operators may nest while parsing. People stay below 10, generators below 30.
pub const MAX_SQL_NESTING: usize = 50;

/// How many expressions the parser may begin before it gives a question up: ten for each word of the longest. The 200,000
/// steps take 0.3 s at most.
pub const MAX_PARSER_STEPS: u32 = 200_000;

/// How many operators may hang under one another in one expression. A chain of 1,000 `OR`s should be an IN list.
pub const MAX_EXPRESSION_DEPTH: usize = 1_000;

/// How many SELECTs and table references a question may have once every common table expression is written out where it
/// is used, as the planner does: thirty that each use the one before twice would be 2^30.
pub const MAX_RELATIONS: u64 = 256;

/// How many expression nodes a question may have once every column is replaced by the expression behind it, as the
/// optimiser may do: thirty subqueries of the form `SELECT x + x AS x` would be 2^30.
pub const MAX_EXPANDED_EXPRESSIONS: u64 = 200_000;

/// How many groupings GROUP BY CUBE, ROLLUP and GROUPING SETS may make: a cube of eight columns.
pub const MAX_GROUPING_SETS: u64 = 256;

/// How many rows `generate_series` and `range` may make of integers: a calendar in seconds of a week.
pub const MAX_SERIES: u64 = 1_000_000;

/// How much memory the operators of one question may hold, in bytes. They never spill to disk: pseudonymised rows in
/// temporary files would outlive the question.
pub const QUESTION_MEMORY: usize = 1 << 30;
