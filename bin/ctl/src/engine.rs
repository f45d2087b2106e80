//! `orlopctl engine dev`: an engine in this process.

use crate::args::work::EngineDevArgs;
use orlop_durable::{Bound, Config, StoreConfig};
use tokio_util::sync::CancellationToken;

/// Serves until told to stop.
pub(crate) fn dev(args: &EngineDevArgs) -> anyhow::Result<()> {
    orlop_telemetry::init("engine", args.log_format.parse()?, &args.log)?;
    orlop_program::raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = args.store.clone().unwrap_or_else(|| StoreConfig::Sqlite(args.data.clone()));
        let said = store.to_string();
        let bound = Bound::new(Config { listen: args.listen, ..Config::new(store) }).await?;
        println!("engine:  http://{}", bound.address());
        println!("store:   {said}");
        println!("workers: connect to the address above; look at them with `orlopctl worker ls`");
        let stop = CancellationToken::new();
        tokio::select! {
            served = bound.serve(stop.clone()) => Ok(served?),
            aborted = orlop_program::stop_on_signals(stop) => aborted,
        }
    })
}
