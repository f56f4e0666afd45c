//! Links to the pages of a search: pinned to a commit, good for one user, unchangeable.
//!
//! A link is the search's own address and parameters, and `_page`: base64url (RFC 4648, without padding) of version (1 byte), when
//! it expires (seconds since 1970, 8), commit (8), number of all matches (8, all ones: not counted), which of the searched types
//! (2), the kernel's cursor, and the first 16 bytes of HMAC-SHA256 over those and over whose link it is. Numbers are
//! little-endian. Nothing is kept on the server.

use crate::access::Principal;
use crate::api::ApiError;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_kernel::ids::{Commit, Timeline};
use dugnad_kernel::search::parse;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;

/// The parameter that holds it.
pub const PAGE: &str = "_page";

const VERSION: u8 = 1;
const MAC_BYTES: usize = 16;

/// Where a search goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// As of which commit.
    pub commit: Commit,
    /// How many match, if that has been counted.
    pub total: Option<u64>,
    /// Which of the searched types is next.
    pub kind: u16,
    /// Where in it; empty: at its beginning.
    pub cursor: Vec<u8>,
}

/// Whose search a link belongs to.
pub struct Owner<'o> {
    /// Who searches.
    pub who: &'o Principal,
    /// In which history of commits.
    pub timeline: Timeline,
    /// The path, such as `/fhir/Patient`.
    pub path: &'o str,
    /// The parameters but for `_page` and those about the form of the answer, which clients add as they like.
    pub parameters: &'o [(String, String)],
}

impl Owner<'_> {
    fn mac(&self, key: &[u8; 32], payload: &[u8]) -> [u8; MAC_BYTES] {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of 32 bytes");
        let mut add = |part: &[u8]| {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        };
        add(payload);
        add(self.timeline.to_string().as_bytes());
        add(self.who.user.as_bytes());
        add(self.who.role.name().as_bytes());
        add(self.who.holder.as_deref().unwrap_or_default().as_bytes());
        if let Some(scopes) = &self.who.scopes {
            add(scopes.to_string().as_bytes());
        }
        add(self.path.as_bytes());
        for (name, value) in self.parameters.iter().filter(|(name, _)| !is_about_form(name)) {
            add(name.as_bytes());
            add(value.as_bytes());
        }
        let whole: [u8; 32] = mac.finalize().into_bytes().into();
        let mut short = [0; MAC_BYTES];
        short.copy_from_slice(&whole[..MAC_BYTES]);
        short
    }
}

/// Whether a parameter is about how the answer is written, not about what is in it.
fn is_about_form(name: &str) -> bool {
    matches!(name, "_format" | "_pretty")
}

/// The address of a page of a path's, whose server is that of `base`, the address of `/fhir`.
pub fn address(base: &str, path: &str, parameters: &[(String, String)], page: Option<&str>) -> String {
    let mut url = format!("{}{path}", base.strip_suffix("/fhir").unwrap_or(base));
    let pairs = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(page.map(|page| (PAGE, page)));
    for (n, (name, value)) in pairs.enumerate() {
        url.push(if n == 0 { '?' } else { '&' });
        parse::encode(name, &mut url);
        url.push('=');
        parse::encode(value, &mut url);
    }
    url
}

/// The value of `_page`.
pub fn seal(key: &[u8; 32], owner: &Owner<'_>, pin: &Pin, expires: Timestamp) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend(expires.as_second().to_le_bytes());
    bytes.extend(pin.commit.0.to_le_bytes());
    bytes.extend(pin.total.unwrap_or(u64::MAX).to_le_bytes());
    bytes.extend(pin.kind.to_le_bytes());
    bytes.extend(&pin.cursor);
    let mac = owner.mac(key, &bytes);
    bytes.extend(mac);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads it again.
///
/// # Errors
/// 404 for what is no link, was changed, or is somebody else's: nobody can tell which. 410 for one that has expired.
pub fn open(key: &[u8; 32], owner: &Owner<'_>, text: &str, now: Timestamp) -> Result<Pin, ApiError> {
    let foreign = || ApiError::not_found("there is no such page; search again, and follow links as they are").at(format!("http.{PAGE}"));
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| foreign())?;
    let (payload, mac) = bytes.split_last_chunk::<MAC_BYTES>().ok_or_else(foreign)?;
    let same = owner.mac(key, payload).iter().zip(mac).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0;
    if !same {
        return Err(foreign());
    }
    let (expires, pin) = read(payload).ok_or_else(foreign)?;
    if expires < now.as_second() {
        let what = "the link to this page has expired; search again";
        return Err(ApiError::new(StatusCode::GONE, IssueType::NotFound, what).at(format!("http.{PAGE}")));
    }
    Ok(pin)
}

fn read(payload: &[u8]) -> Option<(i64, Pin)> {
    let rest = payload.strip_prefix(&[VERSION])?;
    let (expires, rest) = rest.split_first_chunk()?;
    let (commit, rest) = rest.split_first_chunk()?;
    let (total, rest) = rest.split_first_chunk()?;
    let (kind, cursor) = rest.split_first_chunk()?;
    let total = Some(u64::from_le_bytes(*total)).filter(|total| *total != u64::MAX);
    let pin = Pin { commit: Commit(u64::from_le_bytes(*commit)), total, kind: u16::from_le_bytes(*kind), cursor: cursor.to_vec() };
    Some((i64::from_le_bytes(*expires), pin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Role;

    const KEY: [u8; 32] = [7; 32];

    fn who(user: &str, holder: &str) -> Principal {
        Principal::new(user, Role::Hospital, Some(holder.into()))
    }

    fn pin() -> Pin {
        Pin { commit: Commit(42), total: Some(7), kind: 1, cursor: vec![1, 2, 3] }
    }

    fn pairs(text: &str) -> Vec<(String, String)> {
        text.split('&').filter_map(|p| p.split_once('=')).map(|(n, v)| (n.into(), v.into())).collect()
    }

    #[test]
    fn a_link_is_good_for_its_owner_its_search_and_its_time_only() -> Result<(), ApiError> {
        let (me, parameters) = (who("a", "Haukeland"), pairs("name=x&_count=2"));
        let owner = Owner { who: &me, timeline: Timeline::new(1), path: "/fhir/Patient", parameters: &parameters };
        let (now, later) = (Timestamp::from_second(1_000).unwrap_or_default(), Timestamp::from_second(2_000).unwrap_or_default());
        let link = seal(&KEY, &owner, &pin(), now);
        assert_eq!(open(&KEY, &owner, &link, now)?, pin());
        let formatted = pairs("name=x&_count=2&_format=json");
        assert_eq!(open(&KEY, &Owner { parameters: &formatted, ..owner }, &link, now)?, pin());
        let status = |owner: &Owner<'_>, link: &str, now| open(&KEY, owner, link, now).err().map(|e| e.status.as_u16());
        assert_eq!(status(&owner, &link, later), Some(410));
        let (colleague, stranger, other) = (who("b", "Haukeland"), who("a", "Ullevål"), pairs("name=y&_count=2"));
        for wrong in [
            Owner { who: &colleague, ..owner },
            Owner { who: &stranger, ..owner },
            Owner { timeline: Timeline::new(2), ..owner },
            Owner { path: "/fhir/Group", ..owner },
            Owner { parameters: &other, ..owner },
        ] {
            assert_eq!(status(&wrong, &link, now), Some(404));
            assert_eq!(status(&wrong, &link, later), Some(404), "that it was one and has expired is not told either");
        }
        for at in 0..link.len() {
            let mut changed = link.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8_lossy(&changed).into_owned();
            if changed != link {
                assert_eq!(status(&owner, &changed, now), Some(404), "{at}");
            }
        }
        for nonsense in ["", "A", "!!!", &link[..link.len() - 1], &format!("{link}AAAA")] {
            assert_eq!(status(&owner, nonsense, now), Some(404), "{nonsense}");
        }
        Ok(())
    }

    #[test]
    fn what_was_not_counted_stays_so() -> Result<(), ApiError> {
        let me = who("a", "Haukeland");
        let owner = Owner { who: &me, timeline: Timeline::new(1), path: "/fhir", parameters: &[] };
        let pin = Pin { total: None, cursor: Vec::new(), ..pin() };
        assert_eq!(open(&KEY, &owner, &seal(&KEY, &owner, &pin, Timestamp::MAX), Timestamp::MIN)?, pin);
        Ok(())
    }
}
