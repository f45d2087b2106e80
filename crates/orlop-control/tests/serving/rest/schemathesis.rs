//! The document against the server, by a tool that knows neither.

use super::{spec, start};
use crate::sessions::with_logs;
use std::path::Path;
use tokio::process::Command;

/// Tries every operation with what the document allows and with what it does not, and holds every answer against it.
#[tokio::test]
async fn schemathesis_finds_nothing() {
    let (world, http) = start().await;
    let mut agent = world.agent("alpha").await;
    with_logs(&mut agent, vec![(1, "one"), (2, "two")], None);
    world.place("shop", agent.node).await;
    // The one that the document's examples name is there, so that they meet more than its absence.
    http.deploy("shop", spec("shop", "1.4"), &[]).await.expect(200).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/schemathesis");
    // The same tries each time: a test that fails now and then tells less than one that fails always.
    let options = ["--seed", "1", "--max-examples", "15"];
    let run =
        Command::new(script).arg(format!("http://{}", http.address)).args(options).kill_on_drop(true).output().await;
    let run = run.expect("the script runs");
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{told}{}", String::from_utf8_lossy(&run.stderr));
    assert!(told.contains("Tested: "), "nothing was tried: {told}");
}
