//! What every program does around its work, so that a `main` reads like a table of contents: layered configuration, logs,
//! signals, the exit code.
//!
//! Configuration comes in layers, each over the one before: the defaults of the role's own `Config`, a TOML file
//! (`--config`), the environment (`ORLOP_<ROLE>_<KEY>`), flags. A key that nobody knows is an error. `--print-config` shows the
//! result and ends.

mod configuration;
mod files;
mod signals;

pub use configuration::Common;
pub use files::raise_open_files;
pub use signals::stop_on_signals;

use clap::Parser;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;

/// Runs a program: reads the flags `F`, puts the configuration `C` together, starts the log and a runtime of one thread, and
/// serves until SIGTERM or SIGINT; a second signal ends it at once. An error is printed with its causes, and the exit code is 1.
pub fn run<F, C, S>(role: &'static str, common: fn(&F) -> &Common, serve: S) -> ExitCode
where
    F: Parser + Serialize,
    C: Default + Serialize + DeserializeOwned,
    S: AsyncFnOnce(F, C, CancellationToken) -> anyhow::Result<()>,
{
    let flags = F::parse();
    let outcome = configuration::load::<F, C>(role, &flags, common(&flags)).and_then(|(config, log)| {
        if common(&flags).print_config {
            print!("{}", configuration::print(&config, &log)?);
            return Ok(());
        }
        orlop_telemetry::init(role, log.log_format.parse()?, &log.log)?;
        raise_open_files();
        // One thread carries a role with ease, and what is not there costs no memory.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let stop = CancellationToken::new();
            tokio::select! {
                served = serve(flags, config, stop.clone()) => served,
                aborted = stop_on_signals(stop) => aborted,
            }
        })
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("orlop-{role}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The process's environment, as `$E:` in spec files sees it. What is not text cannot be a spec's value and is left out.
pub fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
