//! A server in this process, on a loopback address: everything but the network is real.

use crate::api::{self, Network, Settings};
use crate::cli::CliError;
use crate::cli::local::Local;
use axum::Router;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running server.
pub(super) struct Loopback {
    url: String,
    runtime: Runtime,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
}

impl Loopback {
    /// Serves `local` on a free port. Sessions on the loopback address count as inside the SPE.
    pub(super) fn start(local: &Local) -> Result<Self, CliError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CliError::failed)?;
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).map_err(CliError::failed)?;
        let url = format!("http://{}", listener.local_addr().map_err(CliError::failed)?);
        let settings = Settings { inside_spe: Network::loopback(), ..Settings::default() };
        let (stop, stopped) = oneshot::channel::<()>();
        let until = async {
            let _: Result<(), _> = stopped.await; // an error means that nobody is left to stop it: stop too
        };
        let served = runtime.spawn(api::serve(local.app(settings), Router::new(), listener, until));
        Ok(Self { url, runtime, stop, served })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Lets requests under way finish.
    pub(super) fn stop(self) -> Result<(), CliError> {
        let _: Result<(), ()> = self.stop.send(()); // fails if it has ended already
        self.runtime.block_on(self.served).map_err(CliError::failed)?.map_err(CliError::failed)
    }
}
