//! The hash map of what is looked up for every row. Seeded per process, as the standard library's is; several times as fast
//! on short keys.

/// A map for paths that every row takes. Its order is never shown.
pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;
