//! Who may: SMART scopes and what they allow, JSON Web Keys, and what signed tokens (RFC 7519) say.
//!
//! Pure decisions. Who is registered, what is fetched and what is remembered is the caller's; the time is passed in.

mod claims;
pub mod jwk;
pub mod jwt;
pub mod scope;

pub use claims::{Claims, Expected};
pub use jwk::{JwkError, KeySet};
pub use jwt::{Algorithm, Jwt, JwtError};
pub use scope::{Act, Reach, ScopeError, Scopes};
