//! Requests that the server makes to addresses which hospitals name: only to those that the operator has listed, following nothing,
//! bounded in time and size.
//!
//! Without a list the server calls nobody. An address is compared as a URL, in its parts, and it is the same parse that the
//! connection is made with; names are resolved when the connection is made, so whoever lists a name trusts whom it leads to.

use crate::limits::{OUTGOING_CONNECT_TIME, OUTGOING_HEAD_BYTES};
use serde::Deserialize;
use std::str::FromStr;
use std::time::Duration;
use ureq::http::Uri;
use ureq::{Agent, Error};

/// Addresses that may be called: `https://fhir.example.no/hooks`, and what is below it; `:*` is any port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Prefix {
    scheme: String,
    host: String,
    /// `None`: any.
    port: Option<u16>,
    path: String,
}

/// An address in its parts.
fn parts(text: &str) -> Option<(String, String, u16, String)> {
    let uri: Uri = text.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?.to_ascii_lowercase(), uri.authority()?);
    let default = match scheme.as_str() {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let path = uri.path();
    // A path that says where it leads by going back is not compared, however it is written.
    let lower = path.to_ascii_lowercase();
    let odd = ["%2e", "%2f", "%5c"].iter().any(|odd| lower.contains(odd)) || path.contains('\\');
    let back = path.split('/').any(|segment| segment == "." || segment == "..");
    if odd || back || authority.as_str().contains('@') || authority.host().is_empty() {
        return None;
    }
    Some((scheme, authority.host().to_ascii_lowercase(), uri.port_u16().unwrap_or(default), path.to_owned()))
}

impl Prefix {
    /// Any port of this machine, for a demo.
    pub fn loopback() -> Vec<Self> {
        let of = |host: &str| Self { scheme: "http".to_owned(), host: host.to_owned(), port: None, path: "/".to_owned() };
        ["127.0.0.1", "localhost", "[::1]"].map(of).to_vec()
    }

    /// Whether an address is below it.
    pub fn allows(&self, address: &str) -> bool {
        let Some((scheme, host, port, path)) = parts(address) else { return false };
        let below = path.strip_prefix(&self.path).is_some_and(|rest| self.path.ends_with('/') || rest.is_empty() || rest.starts_with('/'));
        scheme == self.scheme && host == self.host && self.port.is_none_or(|allowed| allowed == port) && below
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an address such as https://fhir.example.no/hooks");
        let any_port = text.contains(":*");
        let (scheme, host, port, path) = parts(&text.replacen(":*", "", 1)).ok_or_else(wrong)?;
        Ok(Self { scheme, host, port: Some(port).filter(|_| !any_port), path })
    }
}

impl TryFrom<String> for Prefix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Why an address is not called; it says what to do and not the address, which may hold a secret.
pub fn refusal(allowed: &[Prefix], address: &str) -> Option<&'static str> {
    match allowed.iter().any(|prefix| prefix.allows(address)) {
        true => None,
        false => Some("the server may not call this address: the centre lists those it may under `endpoints` in its --config"),
    }
}

/// What is said of an error: not its own text, which may name addresses.
pub fn unreached(error: &Error) -> &'static str {
    match error {
        Error::Timeout(_) => "the address did not answer in time",
        Error::HostNotFound => "the name in the address is not known",
        Error::Tls(_) | Error::Rustls(_) => "the certificate of the address is not trusted, or it does not speak TLS",
        Error::ConnectionFailed | Error::Io(_) => "the address cannot be connected to, or it closed the connection",
        _ => "the address did not answer with HTTP",
    }
}

/// What makes such requests; a whole one ends within `time`.
pub fn agent(time: Duration) -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0) // what is listed is called, and nothing else
        .max_redirects_will_error(false)
        .proxy(None) // nothing of the environment decides where data go
        .timeout_connect(Some(OUTGOING_CONNECT_TIME))
        .timeout_global(Some(time))
        .max_response_header_size(OUTGOING_HEAD_BYTES)
        .max_idle_connections(16)
        .user_agent(concat!("dugnad/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_compared_in_their_parts() -> Result<(), String> {
        let hooks: Prefix = "https://fhir.example.no/hooks".parse()?;
        for good in ["https://fhir.example.no/hooks", "https://FHIR.example.no:443/hooks/a?b=c", "https://fhir.example.no/hooks/"] {
            assert!(hooks.allows(good), "{good}");
        }
        for bad in [
            "http://fhir.example.no/hooks",
            "https://fhir.example.no:8443/hooks",
            "https://fhir.example.no.evil.example/hooks",
            "https://fhir.example.no@evil.example/hooks",
            "https://evil.example@fhir.example.no/hooks",
            "https://fhir.example.no/hooks2",
            "https://fhir.example.no/hooks/../admin",
            "https://fhir.example.no/hooks/%2e%2e/admin",
            "https://fhir.example.no/hooks/..%2fadmin",
            "https://fhir.example.no/hooks\\..\\admin",
            "https://fhir.example.no/",
            "//fhir.example.no/hooks",
            "file:///etc/passwd",
            "",
        ] {
            assert!(!hooks.allows(bad), "{bad}");
        }
        let any: Prefix = "http://127.0.0.1:*".parse()?;
        assert!(any.allows("http://127.0.0.1:4711/x") && !any.allows("http://127.0.0.2:4711/x"));
        assert!(Prefix::loopback().iter().any(|p| p.allows("http://[::1]:99/")));
        for wrong in ["example.no", "ftp://a", "https://a@b", "https://a/../b", ""] {
            assert!(wrong.parse::<Prefix>().is_err(), "{wrong}");
        }
        assert!(refusal(&[], "https://fhir.example.no/hooks").is_some() && refusal(&[hooks], "https://fhir.example.no/hooks/1").is_none());
        Ok(())
    }
}
