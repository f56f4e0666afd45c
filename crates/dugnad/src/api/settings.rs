//! What an operator chooses.

use super::outgoing::Prefix;
use super::tls::TlsFiles;
use crate::access::ProviderSettings;
use crate::limits::{HANDSHAKES, NOTIFICATION_FIRST_PAUSE, NOTIFICATION_LONGEST_PAUSE, NOTIFICATION_TIME, NOTIFICATION_TRIES};
use crate::query::{OptOutCover, StatisticsSettings};
use dugnad_kernel::audit::WitnessKey;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// Settings of a server; the file of `serve --config` is JSON of this form.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where to listen, such as `0.0.0.0:8080`; `--listen` wins over it.
    pub listen: Option<String>,
    /// The networks whose sessions count as inside the secure processing environment, such as `10.1.0.0/16`. The address
    /// is that of the connection: a proxy in front must stand inside too, and let nobody else through.
    pub inside_spe: Vec<Network>,
    /// The certificate to serve with; without, what speaks TLS stands in front.
    pub tls: Option<TlsFiles>,
    /// The address under which clients reach the server, such as `https://dugnad.example.no`; for links in answers.
    pub public_url: Option<String>,
    /// The origin of the audit log's checkpoints (C2SP tlog-checkpoint): a name that no other log has, for ever.
    pub audit_origin: Option<String>,
    /// The public keys of the witnesses whose cosignatures on checkpoints are taken and served (`dugnad audit cosign` prints its own).
    #[serde(deserialize_with = "witnesses")]
    pub witnesses: Vec<WitnessKey>,
    /// Which permits opt-outs cover: `later_permits` as Art. 71 of Regulation (EU) 2025/327 says, or `all_permits` where national
    /// law goes further.
    pub opt_outs: OptOutCover,
    /// The identity provider of people: staff and patients.
    pub oidc: Option<ProviderSettings>,
    /// The addresses that the server may call for hospitals: what is at or below `https://fhir.example.no/hooks`, say. None are called
    /// that are not listed.
    pub endpoints: Vec<Prefix>,
    /// How patient the server is with endpoints of Subscriptions.
    #[serde(skip)]
    pub pace: Pace,
    /// Method, calendars and budget of statistics; kept with the database from its first start on.
    pub statistics: Option<StatisticsSettings>,
}

fn witnesses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<WitnessKey>, D::Error> {
    let keys = Vec::<String>::deserialize(deserializer)?;
    keys.iter().map(|key| WitnessKey::parse(key).map_err(|error| D::Error::custom(format!("witnesses: {error}")))).collect()
}

/// How often and when what an endpoint has not taken is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The first pause; each is twice as long as the one before.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
    /// After so many attempts at one notification it is given up.
    pub tries: u32,
    /// After so many attempts more than one, a handshake.
    pub handshakes: u32,
    /// How long one attempt may take.
    pub time: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: NOTIFICATION_FIRST_PAUSE,
            longest: NOTIFICATION_LONGEST_PAUSE,
            tries: NOTIFICATION_TRIES,
            handshakes: HANDSHAKES,
            time: NOTIFICATION_TIME,
        }
    }
}

impl Pace {
    /// The pause after `tries` attempts and one.
    pub fn after(&self, tries: u32) -> Duration {
        self.first.saturating_mul(1 << tries.min(20)).min(self.longest)
    }
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is not of the form.
    #[error(
        "{path}: {source}; known keys are listen, tls, inside_spe, public_url, audit_origin, witnesses, opt_outs, oidc, endpoints and statistics"
    )]
    Form {
        /// The file.
        path: String,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
}

impl Settings {
    /// Reads the file of `serve --config`.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let shown = || path.display().to_string();
        let text = std::fs::read(path).map_err(|source| SettingsError::Io { path: shown(), source })?;
        let settings: Self = serde_json::from_slice(&text).map_err(|source| SettingsError::Form { path: shown(), source })?;
        let oidc = settings.oidc.as_ref().map_or(Ok(()), ProviderSettings::check);
        oidc.map_err(|what| SettingsError::Form { path: shown(), source: serde_json::Error::custom(format!("oidc: {what}")) })?;
        Ok(settings)
    }

    /// Whether clients reach this server by HTTPS, as far as it knows.
    pub fn is_https(&self) -> bool {
        self.public_url.as_ref().map_or(self.tls.is_some(), |url| url.starts_with("https://"))
    }

    /// Whether sessions from `address` are inside the secure processing environment.
    pub fn is_inside_spe(&self, address: IpAddr) -> bool {
        self.inside_spe.iter().any(|network| network.contains(address))
    }
}

/// An address range: `10.0.0.0/8`, `::1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network {
    bits: u128,
    mask: u128,
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl Network {
    /// The loopback addresses: what a demo counts as inside.
    pub fn loopback() -> Vec<Network> {
        let v4 = u128::MAX << 24; // ::ffff:127.0.0.0/104
        vec![
            Network { bits: bits(IpAddr::V4(Ipv4Addr::LOCALHOST)) & v4, mask: v4 },
            Network { bits: bits(IpAddr::V6(Ipv6Addr::LOCALHOST)), mask: u128::MAX },
        ]
    }

    /// Whether `address` is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        bits(address) & self.mask == self.bits
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an address or a range such as 10.1.0.0/16");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix: u32 = prefix.map_or(Ok(width), str::parse).map_err(|_| wrong())?;
        let free = width.checked_sub(prefix).ok_or_else(wrong)?;
        let mask = u128::MAX.checked_shl(free).unwrap_or(0);
        let bits = bits(address);
        if bits & mask == bits { Ok(Self { bits, mask }) } else { Err(format!("`{text}` has bits set beyond its prefix")) }
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        let pace = Pace::default();
        let whole: Duration = (0..pace.tries - 1).map(|tries| pace.after(tries)).sum();
        assert_eq!((pace.after(0), pace.after(3)), (pace.first, pace.first * 8));
        assert_eq!(pace.after(u32::MAX), pace.longest);
        assert!(whole > Duration::from_secs(20 * 3_600) && whole < Duration::from_secs(28 * 3_600), "about a day: {whole:?}");
    }

    #[test]
    fn networks() -> Result<(), Box<dyn std::error::Error>> {
        let ten: Network = "10.0.0.0/8".parse()?;
        assert!(ten.contains("10.200.3.4".parse()?) && !ten.contains("11.0.0.1".parse()?));
        assert!(ten.contains("::ffff:10.1.1.1".parse()?), "the same address, seen on a socket for both families");
        let one: Network = "2001:db8::1".parse()?;
        assert!(one.contains("2001:db8::1".parse()?) && !one.contains("2001:db8::2".parse()?));
        for wrong in ["10.0.0.1/8", "10.0.0.0/33", "example.no", ""] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
        let demo = Settings { inside_spe: Network::loopback(), ..Settings::default() };
        assert!(demo.is_inside_spe("127.0.0.2".parse()?) && demo.is_inside_spe("::1".parse()?));
        assert!(!demo.is_inside_spe("128.0.0.1".parse()?) && !demo.is_inside_spe("10.0.0.1".parse()?));
        Ok(())
    }
}
