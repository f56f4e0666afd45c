//! `dugnad view`.

use super::CliError;
use super::query::{default_format, write_all};
use crate::intake::source::{Files, Unit, read_file};
use crate::query::format::Format;
use crate::query::format::rows::{Rows, resources};
use bumpalo::Bump;
use clap::{Args, Subcommand};
use dugnad_kernel::fhir::json;
use dugnad_kernel::views::View as CompiledView;
use std::io;
use std::path::{Path, PathBuf};

/// SQL on FHIR views.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dugnad view run Patient.view.json patients.ndjson.gz --format csv > patients.csv
  dugnad view run Condition.view.json bundles/ --format parquet > conditions.parquet")]
pub struct View {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Run(Run),
}

/// Run a ViewDefinition over files, without a database (a SQL on FHIR 2.0 view runner).
///
/// Reads resources, NDJSON, bundles (the resource of each entry), folders and archives. Rows go to stdout in the order of
/// the input; a resource that the view cannot be evaluated on is named on stderr, and the exit code is 1.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dugnad view run Patient.view.json patients.ndjson.gz
  dugnad view run Condition.view.json bundles.tar.zst --format json

In JSON, numbers keep their digits and columns the view's order; cells of `collection` columns are arrays (in CSV, Parquet
and Arrow: JSON text). Dates are as FHIR writes them. getResourceKey() and getReferenceKey() give the bare id.")]
struct Run {
    /// The ViewDefinition's JSON.
    #[arg(value_name = "VIEWDEFINITION.json")]
    view: PathBuf,
    /// Files and folders: .json, .ndjson, .tar; each plain or as .gz or .zst.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// The form of the rows [default: table on a terminal, else csv].
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
}

impl View {
    pub(super) fn run(self) -> Result<(), CliError> {
        let Action::Run(run) = self.action;
        run.run()
    }
}

fn compile(path: &Path) -> Result<CompiledView, CliError> {
    let shown = path.display();
    let text = std::fs::read(path).map_err(|e| CliError::Usage(format!("{shown}: {e}")))?;
    let definition = serde_json::from_slice(&text).map_err(|e| CliError::Usage(format!("{shown}: not JSON: {e}")))?;
    CompiledView::compile(&definition).map_err(|e| CliError::Usage(format!("{shown}: {e}")))
}

impl Run {
    fn run(self) -> Result<(), CliError> {
        let view = compile(&self.view)?;
        let files = Files::list(&self.paths).map_err(CliError::Usage)?;
        let format = self.format.unwrap_or_else(|| default_format(Format::Csv));
        rows_of(&view, &files, format, io::BufWriter::with_capacity(256 << 10, io::stdout().lock())).map(|_| ())
    }
}

/// Writes the rows of all resources in `files` to `out`, and tells how many there were. A resource that the view cannot be
/// evaluated on is named on stderr, and the result is an error.
pub fn rows_of(view: &CompiledView, files: &Files, format: Format, out: impl io::Write) -> Result<u64, CliError> {
    let rows = Rows::new(format, view.columns()).map_err(CliError::failed)?;
    let mut runner = Runner { rows, view, arena: Bump::new(), out, failures: 0, ended: None };
    for path in &files.files {
        if !read_file(path, &std::sync::Arc::default(), &mut |unit| runner.take(unit)) {
            break;
        }
    }
    runner.end()
}

struct Runner<'v, W: io::Write> {
    view: &'v CompiledView,
    rows: Rows,
    arena: Bump,
    out: W,
    failures: u64,
    /// Why it ends early: stdout is closed (Ok) or cannot be written.
    ended: Option<Result<(), CliError>>,
}

impl<W: io::Write> Runner<'_, W> {
    fn take(&mut self, unit: Unit) -> bool {
        match unit {
            Unit::Unreadable { origin, line, why } => self.fail(&origin, line, &why),
            Unit::Document { origin, bytes } => self.document(&origin, None, &bytes),
            Unit::Lines { origin, lines } => {
                for (number, line) in lines {
                    self.document(&origin, Some(number), &line);
                }
            }
        }
        match self.flush() {
            Ok(true) => true,
            Ok(false) => {
                self.ended = Some(Ok(()));
                false
            }
            Err(error) => {
                self.ended = Some(Err(error));
                false
            }
        }
    }

    /// False if nobody reads any more.
    fn flush(&mut self) -> Result<bool, CliError> {
        match self.rows.take().map_err(CliError::failed)? {
            Some(bytes) => write_all(&mut self.out, &bytes),
            None => Ok(true),
        }
    }

    fn fail(&mut self, origin: &str, line: Option<u64>, why: &str) {
        self.failures += 1;
        match line {
            Some(line) => eprintln!("{origin}: line {line}: {why}"),
            None => eprintln!("{origin}: {why}"),
        }
    }

    fn document(&mut self, origin: &str, line: Option<u64>, bytes: &[u8]) {
        let mut arena = std::mem::take(&mut self.arena);
        match json::parse(bytes, &arena) {
            Err(error) => self.fail(origin, line, &error.to_string()),
            Ok(document) => {
                for (place, resource) in resources(document, self.view.resource_type()) {
                    if let Err(why) = self.rows.run(self.view, resource, &arena) {
                        self.fail(origin, line, &format!("{place}{why}"));
                    }
                }
            }
        }
        arena.reset(); // the next document uses the same memory
        self.arena = arena;
    }

    fn end(mut self) -> Result<u64, CliError> {
        let count = self.rows.count();
        match self.ended {
            Some(Err(error)) => return Err(error),
            Some(Ok(())) => return Ok(count),
            None => {}
        }
        let rest = self.rows.finish().map_err(CliError::failed)?;
        write_all(&mut self.out, &rest)?;
        if self.failures == 0 { Ok(count) } else { Err(CliError::Failed(format!("{} resource(s) gave no rows; see above", self.failures))) }
    }
}
