//! A cluster without containers: a real control plane and a real scheduler in a folder of the test, and a node by rote.

use crate::node;
use orlop_client::Address;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

/// Everything ends and disappears when it is dropped.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) address: Address,
    stop: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

/// How a command ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Fails the test unless the command ended with the code; gives standard output and error as one text.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32) -> String {
        assert_eq!(self.code, code, "out: {}\nerr: {}", self.out, self.err);
        format!("{}{}", self.out, self.err)
    }
}

impl World {
    /// A control plane, a scheduler, and the node `alpha`.
    pub(crate) async fn whole() -> World {
        let mut world = World::control_only().await;
        world.tasks.push(node::join(&world.address).await);
        let config = orlop_scheduler::Config::new(world.address.to_string());
        let stop = world.stop.clone();
        world.tasks.push(tokio::spawn(async move {
            orlop_scheduler::serve(config, stop).await.expect("the scheduler works");
        }));
        world
    }

    /// A control plane alone.
    pub(crate) async fn control_only() -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let address = Address::Unix(folder.path().join("control.sock"));
        let mut world = World { folder, address, stop: CancellationToken::new(), tasks: Vec::new() };
        world.serve().await;
        world
    }

    /// A control plane that is reached over TLS too; gives the address of that.
    pub(crate) async fn over_tls() -> (World, String) {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("control.sock");
        let address = Address::Unix(socket.clone());
        let mut world = World { folder, address, stop: CancellationToken::new(), tasks: Vec::new() };
        let tls = orlop_control::Listen::Tls(([127, 0, 0, 1], 0).into());
        let config = orlop_control::Config::new(
            world.folder.path().join("data"),
            vec![orlop_control::Listen::Unix(socket), tls],
        );
        let running = orlop_control::start(config, world.stop.clone()).await.expect("the control plane starts");
        let found = running.listening().iter().find_map(|listen| match listen {
            orlop_control::Listen::Tls(address) => Some(format!("https://{address}")),
            _ => None,
        });
        world.tasks.push(tokio::spawn(async move {
            let _ = running.wait().await;
        }));
        (world, found.expect("an address over TLS"))
    }

    /// Runs `orlopctl` as whoever has logged in.
    pub(crate) async fn logged_in(&self, line: &str, input: &str) -> Ended {
        let mut command = self.command(line);
        command.env_remove("ORLOP_ADDRESS");
        self.run(command, line, input).await
    }

    /// Ends the control plane; it keeps its data.
    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        for task in self.tasks.drain(..) {
            let _ = task.await;
        }
        self.stop = CancellationToken::new();
    }

    /// Starts the control plane with the data that it had.
    pub(crate) async fn serve(&mut self) {
        let listen = vec![orlop_control::Listen::Unix(self.folder.path().join("control.sock"))];
        let config = orlop_control::Config::new(self.folder.path().join("data"), listen);
        let running = orlop_control::start(config, self.stop.clone()).await.expect("the control plane starts");
        self.tasks.push(tokio::spawn(async move {
            let _ = running.wait().await;
        }));
    }

    /// Runs `orlopctl` with the words of a line.
    pub(crate) async fn ctl(&self, line: &str) -> Ended {
        self.ctl_with(line, "").await
    }

    /// The same, with an input.
    pub(crate) async fn ctl_with(&self, line: &str, input: &str) -> Ended {
        self.run(self.command(line), line, input).await
    }

    async fn run(&self, mut command: Command, line: &str, input: &str) -> Ended {
        use tokio::io::AsyncWriteExt;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("orlopctl starts");
        let mut stdin = child.stdin.take().expect("piped");
        let input = input.as_bytes().to_vec();
        // A command that takes no input may be gone already.
        tokio::spawn(async move { stdin.write_all(&input).await });
        let ended = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await;
        Ended::of(&ended.unwrap_or_else(|_| panic!("{line} did not end")).expect("orlopctl ran"))
    }

    /// `orlopctl`, ready to be started.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orlopctl"));
        command.args(line.split_whitespace()).env("ORLOP_ADDRESS", self.address.to_string()).kill_on_drop(true);
        command.env("ORLOP_CONTEXTS", self.folder.path().join("contexts.json")).env_remove("ORLOP_CONTEXT");
        command
    }

    /// Writes a spec file of a deployment `shop` with services of these names, images and replicas.
    pub(crate) fn spec(&self, services: &[(&str, &str, u32)]) -> String {
        let mut text = "version: v1\ndeployment: shop\nservices:\n".to_owned();
        for (name, image, replicas) in services {
            text.push_str(&format!(
                "  {name}:\n    image: {{ name: registry.example/{image}:1 }}\n    scale: {{ mode: fixed, replicas: {replicas} }}\n"
            ));
        }
        self.file("shop.yaml", &text)
    }

    /// Writes a file; gives its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path: PathBuf = self.folder.path().join(name);
        std::fs::write(&path, text).expect("the file is written");
        path.display().to_string()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}
