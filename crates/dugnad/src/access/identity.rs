//! People as an identity provider knows them, and who they are here: rules from claims to a user, a role and a holder.

use super::clients::CLIENT_USER;
use super::{MAX_NAME_BYTES, Role, is_safe_address};
use dugnad_kernel::access::Claims;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;

/// An OpenID Connect provider, as the operator describes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderSettings {
    /// Its issuer identifier, exactly as in its tokens; its description is found below it.
    pub issuer: String,
    /// What this server is called there.
    pub client_id: String,
    /// A file with the secret of this server there; without, it is a public client. PKCE is used in both cases.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    /// What access tokens for the API have in `aud`; without, none are taken.
    #[serde(default)]
    pub audience: Option<String>,
    /// The scopes to ask for at a sign-in.
    #[serde(default = "default_scope")]
    pub scope: String,
    /// The claim that names the user, as permits and the log do: one that nobody can change for themselves.
    #[serde(default = "default_user")]
    pub user: String,
    /// Who is what. The first rule that fits decides; where none does, nobody comes in.
    pub rules: Vec<Rule>,
}

fn default_scope() -> String {
    "openid".to_owned()
}

fn default_user() -> String {
    "sub".to_owned()
}

/// Who is what.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// A claim: its name, or a JSON Pointer (RFC 6901) to one inside another, such as `/realm_access/roles`.
    pub claim: String,
    /// What it is, or has among its values. For patients: left out.
    #[serde(default)]
    pub value: Option<String>,
    /// What they are then.
    pub role: Role,
    /// For hospitals: the holder that they write and read for.
    #[serde(default)]
    pub holder: Option<String>,
    /// For patients: the system of the national identifier that the claim is, such as `urn:oid:2.16.578.1.12.4.1.4.1`.
    #[serde(default)]
    pub system: Option<String>,
}

/// Somebody as the rules see them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user's name.
    pub user: String,
    /// What they are.
    pub role: Role,
    /// A hospital's holder.
    pub holder: Option<String>,
    /// A patient's national identifier: system and value.
    pub person: Option<(String, String)>,
}

impl ProviderSettings {
    /// Whether the settings can be used.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check(&self) -> Result<(), String> {
        if !is_safe_address(&self.issuer) {
            return Err("the issuer's address begins with https:// (http:// on this machine alone)".to_owned());
        }
        if self.audience.as_ref() == Some(&self.client_id) {
            let what = "`audience` is the `client_id`: an ID token, which a browser brings, would do as an access token; register the API \
                        with the provider under a name of its own";
            return Err(what.to_owned());
        }
        for rule in &self.rules {
            let fits = match rule.role {
                Role::Hospital => rule.value.is_some() && rule.holder.is_some() && rule.system.is_none(),
                Role::Patient => rule.value.is_none() && rule.holder.is_none() && rule.system.is_some(),
                Role::Authority | Role::Company | Role::Centre => rule.value.is_some() && rule.holder.is_none() && rule.system.is_none(),
            };
            if !fits {
                let what = "needs a `value`; one for hospitals a `holder` too; one for patients a `system` and no `value`";
                return Err(format!("the rule about the claim `{}` for {} {what}", rule.claim, rule.role.name()));
            }
        }
        if self.rules.is_empty() { Err("without `rules` nobody can come in".to_owned()) } else { Ok(()) }
    }

    /// Who somebody is; none if no rule fits, or the user has no usable name.
    pub fn identify(&self, claims: &Claims) -> Option<Identity> {
        let user = texts(claims, &self.user).into_iter().next()?;
        let plain = !user.trim().is_empty() && user.len() <= MAX_NAME_BYTES && !user.chars().any(char::is_control);
        if !plain || user.starts_with(CLIENT_USER) {
            return None;
        }
        self.rules.iter().find_map(|rule| {
            let found = texts(claims, &rule.claim);
            let person = match (&rule.value, &rule.system) {
                (Some(value), _) => found.contains(value).then_some(None)?,
                (None, Some(system)) => match found.as_slice() {
                    [one] if !one.is_empty() => Some((system.clone(), one.clone())),
                    _ => return None,
                },
                (None, None) => return None,
            };
            Some(Identity { user: user.clone(), role: rule.role, holder: rule.holder.clone(), person })
        })
    }
}

/// The texts of a claim: itself, or those that it lists.
fn texts(claims: &Claims, name: &str) -> Vec<String> {
    let found = match name.starts_with('/') {
        true => claims.all.pointer(name),
        false => claims.all.get(name),
    };
    match found {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(all)) => all.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings() -> ProviderSettings {
        serde_json::from_value(json!({"issuer": "https://login.example.no", "client_id": "dugnad", "user": "name", "rules": [
            {"claim": "groups", "value": "hdab", "role": "centre"},
            {"claim": "/realm/roles", "value": "epj", "role": "hospital", "holder": "Haukeland"},
            {"claim": "pid", "role": "patient", "system": "urn:oid:2.16.578.1.12.4.1.4.1"},
        ]}))
        .unwrap()
    }

    fn who(claims: Value) -> Option<Identity> {
        settings().identify(&Claims::read(claims.to_string().as_bytes()).unwrap())
    }

    #[test]
    fn every_claim_can_be_asked_about() {
        let rules = |claim: &str| ProviderSettings {
            rules: vec![serde_json::from_value(json!({"claim": claim, "value": "x", "role": "centre"})).unwrap()],
            ..settings()
        };
        let claims = json!({"name": "n", "sub": "x", "azp": "x", "iss": "x", "aud": ["y", "x"], "a/b": {"c~d": "x"}, "/e": "x"});
        let claims = Claims::read(claims.to_string().as_bytes()).unwrap();
        for claim in ["sub", "/sub", "azp", "iss", "aud", "/a~1b/c~0d", "/~1e"] {
            assert!(rules(claim).identify(&claims).is_some(), "{claim}");
        }
        for claim in ["name", "/a/b", "nobody", "/aud/2", ""] {
            assert!(rules(claim).identify(&claims).is_none(), "{claim}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let centre = Identity { user: "kari".into(), role: Role::Centre, holder: None, person: None };
        assert_eq!(who(json!({"name": "kari", "groups": ["x", "hdab"], "pid": "1"})), Some(centre.clone()));
        assert_eq!(who(json!({"name": "kari", "groups": "hdab"})), Some(centre));
        let hospital = who(json!({"name": "ola", "realm": {"roles": ["epj"]}})).unwrap();
        assert_eq!((hospital.role, hospital.holder.as_deref()), (Role::Hospital, Some("Haukeland")));
        let patient = who(json!({"name": "p", "pid": "123", "groups": ["other"]})).unwrap();
        assert_eq!(patient.person, Some(("urn:oid:2.16.578.1.12.4.1.4.1".into(), "123".into())));
    }

    #[test]
    fn whom_no_rule_fits_does_not_come_in() {
        for claims in [
            json!({"name": "x"}),
            json!({"name": "x", "groups": ["HDAB", "hdab2"]}),
            json!({"name": "x", "groups": {"hdab": true}}),
            json!({"name": "x", "groups": 7}),
            json!({"name": "x", "pid": ""}),
            json!({"name": "x", "pid": ["1", "2"]}),
            json!({"groups": "hdab"}),
            json!({"name": "", "groups": "hdab"}),
            json!({"name": "a\nb", "groups": "hdab"}),
            json!({"name": "client:lab", "groups": "hdab"}),
            json!({"name": "n".repeat(201), "groups": "hdab"}),
        ] {
            assert_eq!(who(claims.clone()), None, "{claims}");
        }
    }

    #[test]
    fn settings_that_let_in_too_many_or_nobody_are_refused() {
        assert_eq!(settings().check(), Ok(()));
        let with = |rule: Value| ProviderSettings { rules: vec![serde_json::from_value(rule).unwrap()], ..settings() };
        for rule in [
            json!({"claim": "groups", "role": "centre"}),
            json!({"claim": "groups", "value": "x", "role": "hospital"}),
            json!({"claim": "groups", "value": "x", "role": "centre", "holder": "H"}),
            json!({"claim": "pid", "value": "x", "role": "patient", "system": "s"}),
            json!({"claim": "pid", "role": "patient"}),
        ] {
            assert!(with(rule.clone()).check().is_err(), "{rule}");
        }
        assert!(ProviderSettings { rules: Vec::new(), ..settings() }.check().is_err());
        for issuer in ["http://login.example.no", "http://localhost.example.no", "http://localhost@example.no", "login", ""] {
            assert!(ProviderSettings { issuer: issuer.into(), ..settings() }.check().is_err(), "{issuer}");
        }
        for issuer in ["http://localhost", "http://127.0.0.1:8080/realm", "http://[::1]:1", "https://localhost.example.no"] {
            assert_eq!(ProviderSettings { issuer: issuer.into(), ..settings() }.check(), Ok(()), "{issuer}");
        }
        assert!(ProviderSettings { audience: Some("dugnad".into()), ..settings() }.check().is_err(), "an ID token is no access token");
    }
}
