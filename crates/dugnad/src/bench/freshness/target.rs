//! What is measured: a server of this process over a new database, or one that runs already.

use super::PERMIT;
use crate::access::{Role, TokenRequest};
use crate::bench::Folder;
use crate::bench::loopback::Loopback;
use crate::cli::CliError;
use crate::cli::client::Client;
use crate::cli::local::Local;
use crate::feed;
use dugnad_kernel::database::ViewState;
use dugnad_kernel::permit::Permit;
use dugnad_kernel::views::builtin::builtin_views;
use jiff::ToSpan;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The clients of the hospitals and of the reader under the permit.
pub struct Target {
    writers: Vec<Client>,
    reader: Client,
    permit: String,
    /// Where the disk is sampled.
    pub dir: PathBuf,
    own: Option<Own>,
}

struct Own {
    server: Loopback,
    local: Local,
    _folder: Folder,
}

impl Target {
    /// A new database in `data`, or in a temporary folder, and a server over it.
    pub fn own(data: Option<&Path>) -> Result<Self, CliError> {
        let folder = Folder::of(data)?;
        let local = Local::open(&folder.path, None)?;
        grant(&local)?;
        let server = Loopback::start(&local)?;
        let client = |user: &str, role, holder: Option<&str>| {
            let request =
                TokenRequest { user: user.to_owned(), role, holder: holder.map(str::to_owned), subject: None, valid_for: 24.hours() };
            let token = local.tokens.issue(&request).map_err(CliError::failed)?;
            Client::new(server.url(), Some(token))
        };
        let writers = feed::hospitals().iter().map(|h| client(h.name, Role::Hospital, Some(h.name))).collect::<Result<_, _>>()?;
        let reader = client("authority", Role::Authority, None)?;
        let dir = folder.path.clone();
        Ok(Self { writers, reader, permit: PERMIT.to_owned(), dir, own: Some(Own { server, local, _folder: folder }) })
    }

    /// A server that runs, with the tokens and permits of its `demo.json`. Everything is written by one hospital.
    pub fn running(demo_json: &Path, url: Option<&str>) -> Result<Self, CliError> {
        let wrong = |what: String| CliError::Usage(format!("{}: {what}", demo_json.display()));
        let text = std::fs::read(demo_json).map_err(|e| wrong(e.to_string()))?;
        let demo: Value = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
        let text = |value: &Value, name: &str| value.as_str().map(str::to_owned).ok_or_else(|| wrong(format!("there is no {name}")));
        let url = url.map_or_else(|| text(&demo["url"], "url"), |url| Ok(url.to_owned()))?;
        let client = |role: &str| Client::new(&url, Some(text(&demo["tokens"][role], "token of each role")?));
        let permit = text(&demo["permits"]["authority"], "permit of the authority")?;
        Ok(Self { writers: vec![client("hospital")?], reader: client("authority")?, permit, dir: std::env::temp_dir(), own: None })
    }

    /// Which writer's a hospital of the feed is.
    pub fn hospital(&self, of_feed: usize) -> usize {
        of_feed % self.writers.len().max(1)
    }

    /// The client of a hospital, by [`Target::hospital`].
    pub fn writer(&self, hospital: usize) -> &Client {
        self.writers.get(hospital).unwrap_or(&self.reader) // there are as many as `hospital` counts
    }

    /// The client of the permit's user.
    pub fn reader(&self) -> &Client {
        &self.reader
    }

    /// The live permit.
    pub fn permit(&self) -> &str {
        &self.permit
    }

    /// Registers a view of Observations, if the server is our own, and waits until its table is live or `stop` is set.
    pub fn register(&self, stop: &AtomicBool) -> Result<(), CliError> {
        let Some(own) = &self.own else { return Ok(()) };
        let database = &own.local.database;
        let builtin = builtin_views().into_iter().find(|b| b.table == "observation");
        let mut definition: Value = builtin.map_or(Ok(Value::Null), |b| serde_json::from_str(b.definition)).map_err(CliError::failed)?;
        definition["name"] = json!("observation_again");
        database.register_view("again", &definition.to_string()).map_err(CliError::failed)?;
        while !stop.load(Ordering::Acquire) {
            match database.view("again").map(|view| view.state) {
                Some(ViewState::Building { .. }) => std::thread::sleep(Duration::from_millis(10)),
                Some(ViewState::Live { .. }) => return Ok(()),
                other => return Err(CliError::Failed(format!("the view could not be built: {other:?}"))),
            }
        }
        Err(CliError::Failed("the time was over before the view's table was built; give more with --for".to_owned()))
    }

    /// Ends the server, if it is our own.
    pub fn stop(self) -> Result<(), CliError> {
        let Some(own) = self.own else { return Ok(()) };
        let stopped = own.server.stop();
        own.local.database.close();
        stopped
    }
}

/// A live permit over everyone's observations.
fn grant(local: &Local) -> Result<(), CliError> {
    let now = local.clock.now();
    let until = now.checked_add(24.hours() * 7).unwrap_or(now);
    let permit = json!({
        "id": PERMIT, "basis": "statutory_register", "applicant": "a public authority", "users": ["authority"],
        "purpose": "Measuring", "valid_from": now, "valid_until": until, "status": "active",
        "decision": {"by": "centre", "at": now, "reasons": "Made for a benchmark; nobody in the data exists."},
        "provision": {"law": "made up for the benchmark", "retention": "P7D"},
        "tables": [{"table": "observation", "columns": "all"}],
        "population": "everyone", "cadence": "live", "cadence_reason": "Freshness is what is measured", "delivery": "enclave",
    });
    let text = permit.to_string();
    Permit::parse(&text).map_err(CliError::failed)?;
    local.database.put_document("permit", PERMIT, &text).map_err(CliError::failed)?;
    Ok(())
}
