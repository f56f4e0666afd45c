//! FHIR Subscriptions: what somebody wants to be told of, and what they are told.
//!
//! R4's own form (`criteria` is a search) and that of the "Subscriptions R5 Backport" for R4 (`criteria` is a topic, filters are
//! extensions): <http://hl7.org/fhir/R4/subscription.html>, <http://hl7.org/fhir/uv/subscriptions-backport/>. A Subscription that is
//! asked for and cannot be judged is refused when it is written, by the parameter's name. Who is told, when and over which
//! connection is not decided here.

pub mod notification;
mod patients;
#[cfg(test)]
mod tests;

pub use patients::patients_named;

use crate::fhir::criteria::percent_decoded;
use crate::fhir::definitions;
use crate::fhir::issue::{Issue, IssueType, Severity};
use crate::fhir::json::Value;
use crate::limits::{HEARTBEAT_PERIODS_S, MAX_CHANNEL_HEADERS, MAX_CHANNEL_TEXT_BYTES, MAX_NOTIFICATION_EVENTS, MAX_SUBSCRIPTION_FILTERS};
use crate::search::conditions::Conditions;
use crate::search::parameters::Known;
use jiff::Timestamp;
use std::time::Duration;

/// Where the backport's profiles and extensions are defined.
pub const BACKPORT: &str = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/";

/// What the canonicals of the topics begin with; the resource type follows.
const TOPICS: &str = "urn:dugnad:topic:";

/// `Subscription.status`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Its client asks for it.
    Requested,
    /// Whoever is to be told is told.
    Active,
    /// It was given up.
    Error,
    /// Its client does not want it.
    Off,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Requested, Self::Active, Self::Error, Self::Off];

    /// Its code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Active => "active",
            Self::Error => "error",
            Self::Off => "off",
        }
    }

    /// That of a Subscription; what has none is off.
    pub fn of(resource: &Value<'_>) -> Self {
        let code = resource.str("status");
        Self::ALL.into_iter().find(|status| code == Some(status.code())).unwrap_or(Self::Off)
    }
}

/// How much of a resource is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// That there is something.
    Empty,
    /// Which resource it is.
    IdOnly,
    /// The resource.
    FullResource,
}

impl Content {
    const ALL: [Self; 3] = [Self::Empty, Self::IdOnly, Self::FullResource];

    /// Its code in the backport's extension.
    pub fn code(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::IdOnly => "id-only",
            Self::FullResource => "full-resource",
        }
    }

    /// That of a code.
    pub fn of(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|content| content.code() == code)
    }
}

/// How what is told is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// R4: a resource, or nothing.
    Resource,
    /// The backport: a Bundle with a SubscriptionStatus.
    Topic {
        /// The canonical of the topic.
        topic: String,
        /// How many events a Bundle may hold.
        max_count: usize,
        /// After how long without a notification one is sent that says nothing but that the server is there.
        heartbeat: Option<Duration>,
    },
}

/// What somebody wants to be told of, and how.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// Of which resources.
    pub resource_type: String,
    /// Of those that meet this.
    pub conditions: Conditions,
    /// Whether of deletions too.
    pub deletions: bool,
    /// In which form.
    pub form: Form,
    /// How much.
    pub content: Content,
    /// Where to; `None`: whoever wants to know asks.
    pub endpoint: Option<String>,
    /// With which headers, as name and value.
    pub headers: Vec<(String, String)>,
    /// Until when.
    pub end: Option<Timestamp>,
}

/// The canonical of the topic of a resource type: what is created, updated and deleted of it.
pub fn topic_of(resource_type: &str) -> String {
    format!("{TOPICS}{resource_type}")
}

/// What is wrong with a Subscription that somebody wants to be active; of another resource, nothing.
pub fn check(resource: &Value<'_>) -> Vec<Issue> {
    let wanted = resource.str("resourceType") == Some("Subscription") && matches!(Status::of(resource), Status::Requested | Status::Active);
    if !wanted {
        return Vec::new();
    }
    Subscription::read(resource).err().into_iter().collect()
}

impl Subscription {
    /// Reads a Subscription that is valid R4.
    ///
    /// # Errors
    /// What in it cannot be done, and where.
    pub fn read(resource: &Value<'_>) -> Result<Self, Issue> {
        let criteria = resource.str("criteria").ok_or_else(|| issue(IssueType::Required, "criteria", "a Subscription needs criteria"))?;
        let channel = resource.get("channel").ok_or_else(|| issue(IssueType::Required, "channel", "a Subscription needs a channel"))?;
        if channel.str("type") != Some("rest-hook") {
            let what = "the channels are rest-hook and, without an endpoint, the stream of $events-stream; write `rest-hook`";
            return Err(issue(IssueType::NotSupported, "channel.type", what));
        }
        let end = match resource.str("end") {
            None => None,
            Some(end) => Some(end.parse().map_err(|_| issue(IssueType::Value, "end", "an instant, such as 2026-01-31T12:00:00Z"))?),
        };
        let (endpoint, headers) = (endpoint(&channel)?, headers(&channel)?);
        let of_topic =
            criteria.starts_with(TOPICS) || profiles(resource).any(|profile| profile == format!("{BACKPORT}backport-subscription"));
        let (resource_type, conditions, content, form) =
            if of_topic { Self::topic(resource, criteria, &channel)? } else { Self::search(criteria, &channel)? };
        Ok(Self { resource_type, conditions, deletions: of_topic, form, content, endpoint, headers, end })
    }

    fn search(criteria: &str, channel: &Value<'_>) -> Result<(String, Conditions, Content, Form), Issue> {
        let (resource_type, pairs) = search_of(criteria)?;
        let resource_type = resource_type.ok_or_else(|| {
            let what = "the criteria are a search such as `Observation?code=http://loinc.org|1975-2`, or the canonical of a topic";
            issue(IssueType::Value, "criteria", what)
        })?;
        let conditions = conditions(&resource_type, pairs)?;
        let content = if payload(channel)? { Content::FullResource } else { Content::Empty };
        Ok((resource_type, conditions, content, Form::Resource))
    }

    fn topic(resource: &Value<'_>, criteria: &str, channel: &Value<'_>) -> Result<(String, Conditions, Content, Form), Issue> {
        let named = criteria.strip_prefix(TOPICS).filter(|name| definitions::is_resource_type(name));
        let resource_type = named.ok_or_else(|| {
            let what = format!("the topics are `{TOPICS}` and a resource type, such as `{}`", topic_of("Observation"));
            issue(IssueType::NotSupported, "criteria", what)
        })?;
        let filters: Vec<&str> = match resource.get("_criteria") {
            Some(criteria) => extensions(&criteria, "backport-filter-criteria").filter_map(|filter| filter.str("valueString")).collect(),
            None => Vec::new(),
        };
        if filters.len() > MAX_SUBSCRIPTION_FILTERS {
            let what = format!("there may be {MAX_SUBSCRIPTION_FILTERS} filters; put their parameters into one");
            return Err(issue(IssueType::TooCostly, "criteria", what));
        }
        let mut pairs = Vec::new();
        for filter in filters {
            let (of, more) = search_of(filter)?;
            if of.is_some_and(|of| of != resource_type) {
                let what = format!("a filter of this topic is a search of {resource_type}, such as `{resource_type}?_id=1`");
                return Err(issue(IssueType::Value, "criteria", what));
            }
            pairs.extend(more);
        }
        let content = match channel.get("_payload").and_then(|payload| extensions(&payload, "backport-payload-content").next()) {
            None => Content::Empty,
            Some(content) => content.str("valueCode").and_then(Content::of).ok_or_else(|| {
                issue(IssueType::CodeInvalid, "channel.payload", "backport-payload-content is empty, id-only or full-resource")
            })?,
        };
        payload(channel)?;
        let most = extensions(channel, "backport-max-count").next().and_then(|most| match most.get("valuePositiveInt") {
            Some(Value::Number(most)) => most.parse().ok(),
            _ => None,
        });
        let max_count = most.unwrap_or(1).clamp(1, MAX_NOTIFICATION_EVENTS);
        let form = Form::Topic { topic: criteria.to_owned(), max_count, heartbeat: heartbeat(channel)? };
        Ok((resource_type.to_owned(), conditions(resource_type, pairs)?, content, form))
    }

    /// How many events one notification may hold.
    pub fn max_count(&self) -> usize {
        match self.form {
            Form::Resource => 1,
            Form::Topic { max_count, .. } => max_count,
        }
    }

    /// The canonical of its topic, if it has the form of one.
    pub fn topic_canonical(&self) -> Option<&str> {
        match &self.form {
            Form::Resource => None,
            Form::Topic { topic, .. } => Some(topic),
        }
    }

    /// After how long without a notification a heartbeat is sent.
    pub fn heartbeat(&self) -> Option<Duration> {
        match self.form {
            Form::Resource => None,
            Form::Topic { heartbeat, .. } => heartbeat,
        }
    }
}

fn issue(code: IssueType, place: &str, what: impl Into<String>) -> Issue {
    Issue::error(code, format!("Subscription.{place}"), what)
}

fn profiles<'a>(resource: &Value<'a>) -> impl Iterator<Item = &'a str> {
    let profiles = resource.get("meta").and_then(|meta| meta.get("profile"));
    profiles.map_or(&[][..], |profiles| profiles.items()).iter().filter_map(Value::as_str)
}

/// The backport's extensions of that name.
fn extensions<'a>(element: &Value<'a>, name: &'static str) -> impl Iterator<Item = Value<'a>> {
    let all = element.get("extension").map_or(&[][..], |extensions| extensions.items());
    all.iter().copied().filter(move |extension| extension.str("url").and_then(|url| url.strip_prefix(BACKPORT)) == Some(name))
}

/// `backport-heartbeat-period`, in seconds.
fn heartbeat(channel: &Value<'_>) -> Result<Option<Duration>, Issue> {
    let Some(period) = extensions(channel, "backport-heartbeat-period").next() else { return Ok(None) };
    let seconds = match period.get("valueUnsignedInt") {
        Some(Value::Number(seconds)) => seconds.parse().ok(),
        _ => None,
    };
    let seconds: Option<u64> = seconds.filter(|seconds| HEARTBEAT_PERIODS_S.contains(seconds));
    let (shortest, longest) = (HEARTBEAT_PERIODS_S.start(), HEARTBEAT_PERIODS_S.end());
    let wrong = || issue(IssueType::Value, "channel", format!("backport-heartbeat-period is {shortest} to {longest} seconds, or left out"));
    seconds.map(|seconds| Some(Duration::from_secs(seconds))).ok_or_else(wrong)
}

/// Names and values of parameters, decoded.
type Pairs = Vec<(String, String)>;

/// The type and the parameters of `Type?parameters`, `Type` or `?parameters`.
fn search_of(text: &str) -> Result<(Option<String>, Pairs), Issue> {
    let (of, query) = text.split_once('?').unwrap_or((text, ""));
    if !of.is_empty() && !definitions::is_resource_type(of) {
        let what = "the text before `?` is not a resource type of FHIR R4";
        return Err(issue(IssueType::Value, "criteria", what));
    }
    let decode = |text: &str| {
        let wrong = || issue(IssueType::Value, "criteria", "the percent-encoding is not valid: `%` and two hexadecimal digits, UTF-8");
        percent_decoded(text).map(|text| text.into_owned()).ok_or_else(wrong)
    };
    let mut pairs = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        pairs.push((decode(name)?, decode(value)?));
    }
    Ok((Some(of.to_owned()).filter(|of| !of.is_empty()), pairs))
}

fn conditions(resource_type: &str, pairs: Pairs) -> Result<Conditions, Issue> {
    Conditions::parse(resource_type, pairs, Known::standard()).map_err(|refused| Issue {
        severity: Severity::Error,
        expression: Some("Subscription.criteria".to_owned()),
        ..refused
    })
}

/// Whether there is one; it must be JSON.
fn payload(channel: &Value<'_>) -> Result<bool, Issue> {
    let Some(payload) = channel.str("payload") else { return Ok(false) };
    let essence = payload.split(';').next().unwrap_or_default().trim();
    if matches!(essence, "application/fhir+json" | "application/json") {
        return Ok(true);
    }
    Err(issue(IssueType::NotSupported, "channel.payload", "what is told is told in JSON: application/fhir+json, or none"))
}

fn endpoint(channel: &Value<'_>) -> Result<Option<String>, Issue> {
    let Some(endpoint) = channel.str("endpoint") else { return Ok(None) };
    let is_http = endpoint.starts_with("http://") || endpoint.starts_with("https://");
    let is_plain = endpoint.len() <= MAX_CHANNEL_TEXT_BYTES && endpoint.bytes().all(|b| b.is_ascii_graphic());
    if is_http && is_plain {
        return Ok(Some(endpoint.to_owned()));
    }
    Err(issue(IssueType::Value, "channel.endpoint", "an address that begins with https:// or http://, without blanks"))
}

/// Headers that say how a request is sent, or what is in it: those are not the client's to choose.
const RESERVED: [&str; 9] =
    ["host", "content-length", "content-type", "content-encoding", "transfer-encoding", "connection", "te", "upgrade", "expect"];

fn headers(channel: &Value<'_>) -> Result<Vec<(String, String)>, Issue> {
    let all = channel.get("header").map_or(&[][..], |headers| headers.items());
    let wrong = |what: String| issue(IssueType::Value, "channel.header", what);
    if all.len() > MAX_CHANNEL_HEADERS {
        return Err(wrong(format!("a channel may have {MAX_CHANNEL_HEADERS} headers")));
    }
    let read = |header: &Value<'_>| {
        let (name, value) = header.as_str().and_then(|header| header.split_once(':')).unwrap_or_default();
        let (name, value) = (name.trim(), value.trim());
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
        let is_value = value.len() <= MAX_CHANNEL_TEXT_BYTES && value.bytes().all(|b| b.is_ascii_graphic() || b == b' ' || b == b'\t');
        if !is_name || !is_value {
            return Err(wrong("a header is `Name: value`, in ASCII".to_owned()));
        }
        if RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(wrong("a header of the channel says who sends, such as Authorization, and not how it is sent".to_owned()));
        }
        Ok((name.to_owned(), value.to_owned()))
    };
    all.iter().map(read).collect()
}
