//! `dugnad serve`.

use super::CliError;
use super::local::Local;
use crate::api::{self, Settings, Tls, TlsFiles};
use crate::limits::STOP_TIME;
use crate::web;
use clap::Args;
use dugnad_kernel::clock::SystemClock;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Serve a database: FHIR R4 REST, SQL under permits, the audit log and the web pages.
///
/// Makes the database if the folder is empty. Stops cleanly at Ctrl-C or SIGTERM: requests under way are finished first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dugnad serve --data ./db
  dugnad serve --data ./db --listen 0.0.0.0:8080 --config dugnad.json
  dugnad serve --data ./db --listen 0.0.0.0:443 --tls-cert fullchain.pem --tls-key privkey.pem
  dugnad token issue --data ./db --user haukeland --role hospital --holder 'Haukeland'   (while it runs)

The file of --config is JSON; every key may be left out:
  {\"listen\": \"0.0.0.0:8080\", \"inside_spe\": [\"10.1.0.0/16\"], \"public_url\": \"https://dugnad.example.no\",
   \"audit_origin\": \"dugnad.example.no/audit\", \"witnesses\": [\"witness.example/w1+20324abe+BCms...\"],
   \"opt_outs\": \"later_permits\", \"endpoints\": [\"https://fhir.haukeland.example/hooks\"],
   \"tls\": {\"cert\": \"fullchain.pem\", \"key\": \"privkey.pem\"}}
inside_spe: networks whose sessions are inside the secure processing environment; permits that deliver rows only there
are refused elsewhere. endpoints: what the server may call for Subscriptions and $import, and what is below it; nothing if
left out. opt_outs: which permits they cover, later_permits or all_permits. Without tls, TLS is the part of a proxy in front.
public_url is what the assertions of backend services name (docs/access.md).")]
pub struct Serve {
    /// The database's folder.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where to listen [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// The certificate to serve HTTPS with: PEM, those up to the authority's after it. Read again when it changes, or at SIGHUP.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key: PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Settings, as below.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Serve {
    pub(super) fn run(self) -> Result<(), CliError> {
        let mut settings = match &self.config {
            Some(path) => Settings::read(path).map_err(|e| CliError::Usage(e.to_string()))?,
            None => Settings::default(),
        };
        if let (Some(cert), Some(key)) = (self.tls_cert, self.tls_key) {
            settings.tls = Some(TlsFiles { cert, key });
        }
        let tls = settings.tls.as_ref().map(Tls::open).transpose().map_err(CliError::failed)?.map(Arc::new);
        let address = self.listen.or_else(|| settings.listen.clone()).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
        let local = Local::open_with(&self.data, settings.audit_origin.as_deref(), Arc::new(SystemClock), settings.statistics)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CliError::failed)?;
        let served = runtime.block_on(async {
            let listener = TcpListener::bind(&address).await.map_err(|e| CliError::Failed(format!("cannot listen on {address}: {e}")))?;
            let bound = listener.local_addr().map_err(CliError::failed)?;
            if tls.is_none() && !bound.ip().is_loopback() {
                let what =
                    "without TLS, tokens and patients' data can be read on the way; a proxy with TLS in front, or --tls-cert and --tls-key";
                tracing::warn!(%bound, "listening beyond this machine {what}");
            }
            tell(&format!("{}://{bound}", if tls.is_some() { "https" } else { "http" }), &local, &self.data);
            let app = local.app(settings);
            let pages = web::served(&app);
            api::serve_with(app, pages, listener, tls, stop_signal()).await.map_err(CliError::failed)
        });
        local.database.close();
        // A thread may still wait for an endpoint: it can write nothing any more.
        runtime.shutdown_timeout(STOP_TIME);
        local.audit.close();
        eprintln!("stopped");
        served
    }
}

fn tell(url: &str, local: &Local, data: &std::path::Path) {
    let snapshot = local.database.snapshot();
    eprintln!("serving {} at commit {}:", data.display(), snapshot.commit());
    eprintln!("  FHIR R4       {url}/fhir        (start with {url}/fhir/metadata)");
    eprintln!("  SQL           POST {url}/sql");
    eprintln!("  audit log     {url}/audit/checkpoint");
    eprintln!("  all of it     {url}/openapi.json");
    eprintln!("a token:        dugnad token issue --data {} --user NAME --role hospital --holder NAME", data.display());
}

/// Completes at Ctrl-C or SIGTERM.
pub async fn stop_signal() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await; // no handler could be set: the signal ends the process by itself
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! { () = interrupt => {}, () = terminate => {} }
}
