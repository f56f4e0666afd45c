//! `dugnad application` and `dugnad permit`.

use super::CliError;
use super::server::{Server, json_file};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::PathBuf;
use ureq::http::Method;

/// Apply for a permit, and decide on applications.
///
/// Every answer says where the application stands, what can be done next, what is missing, and until when. Who you are is what your
/// token says: applicants see their own, the centre all that were handed in.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  export DUGNAD_TOKEN=dgn_...
  dugnad application new --server http://127.0.0.1:8080 application.json
  dugnad application submit --server http://127.0.0.1:8080 ID
  dugnad application complete --server http://127.0.0.1:8080 ID --missing 'purpose=which patients benefit?'
  dugnad application assess --server http://127.0.0.1:8080 ID --grant --reasons 'necessary and proportionate'
  dugnad application decide --server http://127.0.0.1:8080 ID --refuse --reasons 'Art. 54(c): the data would serve marketing'
  dugnad application clocks --server http://127.0.0.1:8080")]
pub struct Application {
    #[command(subcommand)]
    action: Action,
}

/// Grant or refuse, and why.
#[derive(Clone, Debug, Args)]
struct Verdict {
    /// Grant it.
    #[arg(long, required_unless_present = "refuse")]
    grant: bool,
    /// Refuse it.
    #[arg(long, conflicts_with = "grant")]
    refuse: bool,
    /// Why; it is public.
    #[arg(long, value_name = "TEXT")]
    reasons: String,
}

impl Verdict {
    /// Whether it is granted; the definition lets only one of both be said.
    fn grants(&self) -> bool {
        self.grant && !self.refuse
    }
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the applications that you may see, or one.
    List {
        #[command(flatten)]
        server: Server,
        /// The application's id; all without it.
        #[arg(value_name = "ID")]
        id: Option<String>,
    },
    /// Begin an application.
    New {
        #[command(flatten)]
        server: Server,
        /// What is asked for, as docs/permits.md describes it.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Change a draft, or one that is incomplete.
    Edit {
        #[command(flatten)]
        server: Server,
        /// The application's id.
        #[arg(value_name = "ID")]
        id: String,
        /// All that is asked for.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Name the persons of a population that is `listed`.
    Persons {
        #[command(flatten)]
        server: Server,
        /// The application's id.
        #[arg(value_name = "ID")]
        id: String,
        /// {"persons": [{"holder": NAME, "patient": ID} or {"system": URI, "value": NUMBER}]}
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Hand it in.
    Submit {
        #[command(flatten)]
        server: Server,
        /// The application's id.
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Take it back.
    Withdraw {
        #[command(flatten)]
        server: Server,
        /// The application's id.
        #[arg(value_name = "ID")]
        id: String,
    },
    /// The centre: find it complete, or name what is missing.
    Complete {
        #[command(flatten)]
        server: Server,
        /// The application's id.
        #[arg(value_name = "ID")]
        id: String,
        /// Something that is missing beside what the program finds.
        #[arg(long, value_name = "FIELD=WHAT")]
        missing: Vec<String>,
    },
    /// The centre: prolong the time for the decision, once.
    Prolong {
        #[command(flatten)]
        server: Server,
        /// The application's id.
        #[arg(value_name = "ID")]
        id: String,
        /// Why.
        #[arg(long, value_name = "TEXT")]
        reasons: String,
    },
    /// The centre: assess it and propose a decision.
    Assess {
        #[command(flatten)]
        server: Server,
        /// The application's id.
        #[arg(value_name = "ID")]
        id: String,
        #[command(flatten)]
        verdict: Verdict,
    },
    /// The centre, another person: decide.
    Decide {
        #[command(flatten)]
        server: Server,
        /// The application's id.
        #[arg(value_name = "ID")]
        id: String,
        #[command(flatten)]
        verdict: Verdict,
        /// The permit's id, if it is not to be the application's.
        #[arg(long, value_name = "ID")]
        permit: Option<String>,
    },
    /// Ask whether it is feasible: counts of the catalogue of statistics, rounded to 10.
    Feasibility {
        #[command(flatten)]
        server: Server,
        /// The application's id.
        #[arg(value_name = "ID")]
        id: String,
        /// A question of the form that statistics permits have.
        #[arg(value_name = "SQL")]
        sql: String,
    },
    /// Print the legal clocks that run, and how many are overdue.
    Clocks {
        #[command(flatten)]
        server: Server,
    },
}

/// What is missing, from `FIELD=WHAT`.
fn named(missing: &[String]) -> Result<Value, CliError> {
    let named = |text: &String| {
        let (field, what) = text.split_once('=').ok_or_else(|| CliError::Usage(format!("--missing is FIELD=WHAT, not `{text}`")))?;
        Ok(json!({"field": field, "what": what}))
    };
    missing.iter().map(named).collect::<Result<Vec<_>, CliError>>().map(Value::Array)
}

impl Application {
    pub(super) fn run(self) -> Result<(), CliError> {
        let post = |server: &Server, id: &str, act: &str, body: Option<&Value>| {
            server.print(&Method::POST, &format!("/applications/{id}/{act}"), body)
        };
        match self.action {
            Action::List { server, id: None } => server.print(&Method::GET, "/applications", None),
            Action::List { server, id: Some(id) } => server.print(&Method::GET, &format!("/applications/{id}"), None),
            Action::New { server, file } => server.print(&Method::POST, "/applications", Some(&json_file(&file)?)),
            Action::Edit { server, id, file } => server.print(&Method::PUT, &format!("/applications/{id}"), Some(&json_file(&file)?)),
            Action::Persons { server, id, file } => {
                server.print(&Method::PUT, &format!("/applications/{id}/persons"), Some(&json_file(&file)?))
            }
            Action::Submit { server, id } => post(&server, &id, "submit", None),
            Action::Withdraw { server, id } => post(&server, &id, "withdraw", None),
            Action::Complete { server, id, missing } => post(&server, &id, "complete", Some(&json!({"missing": named(&missing)?}))),
            Action::Prolong { server, id, reasons } => post(&server, &id, "prolong", Some(&json!({"reasons": reasons}))),
            Action::Assess { server, id, verdict } => {
                post(&server, &id, "assess", Some(&json!({"grant": verdict.grants(), "reasons": verdict.reasons})))
            }
            Action::Decide { server, id, verdict, permit } => {
                post(&server, &id, "decide", Some(&json!({"grant": verdict.grants(), "reasons": verdict.reasons, "permit": permit})))
            }
            Action::Feasibility { server, id, sql } => post(&server, &id, "feasibility", Some(&json!({"sql": sql}))),
            Action::Clocks { server } => server.print(&Method::GET, "/clocks", None),
        }
    }
}

/// Show, extend and revoke permits.
///
/// A permit is extended on its user's request, and revoked after its user was heard; both by a decision of the centre.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dugnad permit list --server http://127.0.0.1:8080 surveillance
  dugnad permit extend --server http://127.0.0.1:8080 surveillance --until 2031-01-01T00:00:00Z --reasons 'follow-up goes on'
  dugnad permit extend --server http://127.0.0.1:8080 surveillance --grant --reasons 'justified'
  dugnad permit revoke --server http://127.0.0.1:8080 surveillance --findings 'rows were copied out of the environment'
  dugnad permit revoke --server http://127.0.0.1:8080 surveillance --views 'they were synthetic'
  dugnad permit revoke --server http://127.0.0.1:8080 surveillance --keep --reasons 'they were'")]
pub struct Permit {
    #[command(subcommand)]
    action: PermitAction,
}

#[derive(Debug, Subcommand)]
enum PermitAction {
    /// Print your permits, or one with its hearing and extension.
    List {
        #[command(flatten)]
        server: Server,
        /// The permit's id; all without it.
        #[arg(value_name = "ID")]
        id: Option<String>,
    },
    /// Ask for an extension, or decide on it.
    Extend {
        #[command(flatten)]
        server: Server,
        /// The permit's id.
        #[arg(value_name = "ID")]
        id: String,
        /// Its users: until when.
        #[arg(long, value_name = "TIME", required_unless_present_any = ["grant", "refuse"], conflicts_with_all = ["grant", "refuse"])]
        until: Option<jiff::Timestamp>,
        /// The centre: grant it.
        #[arg(long)]
        grant: bool,
        /// The centre: refuse it.
        #[arg(long, conflicts_with = "grant")]
        refuse: bool,
        /// Why.
        #[arg(long, value_name = "TEXT")]
        reasons: String,
    },
    /// Open a hearing, state views, or decide.
    #[command(group = clap::ArgGroup::new("what").required(true).args(["findings", "views", "revoke", "keep"]))]
    Revoke {
        #[command(flatten)]
        server: Server,
        /// The permit's id.
        #[arg(value_name = "ID")]
        id: String,
        /// The centre: what it has found; opens the hearing.
        #[arg(long, value_name = "TEXT")]
        findings: Option<String>,
        /// The permit's users: their views.
        #[arg(long, value_name = "TEXT")]
        views: Option<String>,
        /// The centre, another person: revoke it.
        #[arg(long, requires = "reasons")]
        revoke: bool,
        /// The centre, another person: keep it.
        #[arg(long, requires = "reasons")]
        keep: bool,
        /// Why, for a decision.
        #[arg(long, value_name = "TEXT")]
        reasons: Option<String>,
    },
}

impl Permit {
    pub(super) fn run(self) -> Result<(), CliError> {
        match self.action {
            PermitAction::List { server, id: None } => server.print(&Method::GET, "/permits", None),
            PermitAction::List { server, id: Some(id) } => server.print(&Method::GET, &format!("/permits/{id}"), None),
            PermitAction::Extend { server, id, until, grant, refuse, reasons } => {
                let body = match until {
                    Some(until) => json!({"until": until, "reasons": reasons}),
                    None => json!({"grant": grant && !refuse, "reasons": reasons}),
                };
                server.print(&Method::POST, &format!("/permits/{id}/extend"), Some(&body))
            }
            PermitAction::Revoke { server, id, findings, views, revoke, keep, reasons } => {
                let body = match (findings, views) {
                    (Some(findings), _) => json!({"findings": findings}),
                    (None, Some(views)) => json!({"views": views}),
                    (None, None) => json!({"revoke": revoke && !keep, "reasons": reasons}),
                };
                server.print(&Method::POST, &format!("/permits/{id}/revoke"), Some(&body))
            }
        }
    }
}
