//! Permits: legal basis, tables, columns, population, cadence, delivery. Types and pure decisions.
