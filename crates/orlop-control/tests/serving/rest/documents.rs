//! The examples of `docs/rest.md`.

use crate::sessions::with_logs;
use crate::world::World;
use orlop_control::Listen;
use std::path::Path;
use tokio::process::Command;

/// Every example does what the document says it does: each block of commands ends well.
#[tokio::test]
async fn every_example_of_the_document_works() {
    let world = World::start_with(|config| config.listen.push("http://127.0.0.1:0".parse().expect("an address"))).await;
    let mut agent = world.agent("alpha").await;
    with_logs(&mut agent, vec![(1, "one"), (2, "two")], None);
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rest.md");
    let text = std::fs::read_to_string(document).expect("the document");
    let blocks: Vec<&str> = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() > 5, "only {} blocks", blocks.len());
    let [Listen::Unix(socket), Listen::Loopback(port)] = world.listening() else { panic!("{:?}", world.listening()) };
    let (socket, port) = (socket.display().to_string(), port.to_string());
    // One shell, because a block uses what the ones before it made.
    let folder = tempfile::tempdir().expect("a folder");
    let mut script =
        "set -eu\ncurl() { command curl --silent --show-error --fail-with-body --max-time 20 \"$@\"; }\n".to_owned();
    for (number, block) in blocks.iter().enumerate() {
        let block = block.replace("/run/orlop/control.sock", &socket).replace("127.0.0.1:7700", &port);
        script.push_str(&format!("echo '# block {number}'\n{block}\n"));
    }
    let run = Command::new("sh").arg("-c").arg(script).current_dir(folder.path()).kill_on_drop(true).output().await;
    let run = run.expect("a shell");
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{out}\n{err}");
}
