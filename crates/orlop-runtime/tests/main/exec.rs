//! Processes beside a container's own.

use crate::support::{Machine, within};
use orlop_model::Memory;
use orlop_model::spec::Signal;
use orlop_runtime::{ContainerRuntime, ExecSpec, Output, TerminalSize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SLEEP: &str = "trap 'exit 0' TERM; echo ready; while true; do sleep 0.05; done";

async fn running(machine: &Machine) {
    let image = machine.busybox().await;
    let mut spec = machine.script("one", &image, SLEEP);
    spec.user = Some("web".into());
    spec.env.insert("OWN".into(), "environment".into());
    within(machine.runtime.create(&spec)).await.unwrap();
    within(machine.runtime.start("one")).await.unwrap();
    machine.wrote("one", "ready").await;
}

async fn all(output: Option<Output>) -> String {
    let mut text = String::new();
    within(output.unwrap().read_to_string(&mut text)).await.unwrap();
    text
}

fn shell(script: &str) -> ExecSpec {
    ExecSpec::command(["/bin/sh", "-c", script])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_runs_as_the_container_does_and_its_outputs_stay_apart() {
    let machine = Machine::start().await;
    running(&machine).await;
    let mut process = within(machine.runtime.exec("one", shell("echo $OWN $(id -u) $(hostname); echo oh >&2; exit 5")))
        .await
        .unwrap();
    assert!(process.take_stdin().is_none());
    let (out, err) = (process.take_stdout(), process.take_stderr());
    assert_eq!(all(out).await, "environment 1000 box\n");
    assert_eq!(all(err).await, "oh\n");
    assert_eq!(within(process.wait()).await.unwrap().code, 5);
    assert_eq!(within(process.wait()).await.unwrap().code, 5);
    assert_eq!(process.resize(TerminalSize { rows: 1, columns: 1 }).await.unwrap_err().code(), "container_wrong_state");
    drop(process);

    // Much output of a short life, several times over: nothing is lost at its end.
    for _ in 0..5 {
        let mut process = within(machine.runtime.exec("one", shell("seq 1 20000"))).await.unwrap();
        let text = all(process.take_stdout()).await;
        assert_eq!(text.lines().count(), 20_000);
        assert_eq!(within(process.wait()).await.unwrap().code, 0);
    }

    // A child that stays behind holds the output open; what the command itself said arrives, and the output ends.
    let mut process = within(machine.runtime.exec("one", shell("sleep 500 & echo done"))).await.unwrap();
    assert_eq!(within(process.wait()).await.unwrap().code, 0);
    assert_eq!(all(process.take_stdout()).await, "done\n");
    drop(process);
    ended(&machine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_bound_by_the_limits_of_its_container() {
    let machine = Machine::start().await;
    let image = machine.busybox().await;
    let mut spec = machine.script("one", &image, SLEEP);
    spec.resources.memory = Some(Memory(24 << 20));
    within(machine.runtime.create(&spec)).await.unwrap();
    within(machine.runtime.start("one")).await.unwrap();
    machine.wrote("one", "ready").await;

    let mut process = within(machine.runtime.exec("one", shell("echo ready; exec sleep 600"))).await.unwrap();
    let mut line = [0; 6];
    let mut out = process.take_stdout().unwrap();
    within(out.read_exact(&mut line)).await.unwrap();
    // While a process changes its program it has no command line.
    let in_its_groups = async {
        while !machine.commands_in("one").iter().any(|command| command.contains("sleep 600")) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    within(in_its_groups).await;
    within(process.signal(Signal::KILL)).await.unwrap();
    assert_eq!(within(process.wait()).await.unwrap().code, 137);

    let mut process =
        within(machine.runtime.exec("one", shell("exec dd if=/dev/zero of=/dev/null bs=200M count=1"))).await.unwrap();
    assert_eq!(all(process.take_stdout()).await, "");
    assert_eq!(within(process.wait()).await.unwrap().code, 137);
    within(machine.runtime.remove("one")).await.unwrap();
    // Nothing of it is left in any hierarchy.
    assert_eq!(machine.cgroup_of("one"), Vec::<std::path::PathBuf>::new());
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn input_reaches_the_command_and_so_does_its_end() {
    let machine = Machine::start().await;
    running(&machine).await;
    let exec = ExecSpec { stdin: true, ..shell("cat; echo end") };
    let mut process = within(machine.runtime.exec("one", exec)).await.unwrap();
    let (mut stdin, stdout) = (process.take_stdin().unwrap(), process.take_stdout());
    let text = "x".repeat(300_000);
    let write = async {
        stdin.write_all(text.as_bytes()).await.unwrap();
        stdin.shutdown().await.unwrap();
    };
    let ((), found) = tokio::join!(within(write), all(stdout));
    assert_eq!(found.len(), 300_000 + "end\n".len());
    assert_eq!(within(process.wait()).await.unwrap().code, 0);
    drop(process);
    ended(&machine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_echoes_has_a_size_and_changes_it() {
    let machine = Machine::start().await;
    running(&machine).await;
    let mut exec = ExecSpec { stdin: true, ..ExecSpec::command(["/bin/sh"]) };
    exec.terminal = Some(TerminalSize { rows: 33, columns: 99 });
    let mut process = within(machine.runtime.exec("one", exec)).await.unwrap();
    assert!(process.take_stderr().is_none());
    let (mut stdin, mut stdout) = (process.take_stdin().unwrap(), process.take_stdout().unwrap());
    let mut seen = String::new();
    let mut until = async |part: &str, seen: &mut String| {
        while !seen.contains(part) {
            let mut chunk = [0; 1024];
            let length = within(stdout.read(&mut chunk)).await.unwrap();
            assert!(length > 0, "{seen:?} ended before {part:?}");
            seen.push_str(&String::from_utf8_lossy(&chunk[..length]));
        }
        seen.clear();
    };
    stdin.write_all(b"stty size; echo $TERM\n").await.unwrap();
    until("33 99\r\nxterm\r\n", &mut seen).await;
    process.resize(TerminalSize { rows: 12, columns: 34 }).await.unwrap();
    stdin.write_all(b"stty size\n").await.unwrap();
    until("12 34\r\n", &mut seen).await;
    stdin.write_all(b"exit 3\n").await.unwrap();
    assert_eq!(within(process.wait()).await.unwrap().code, 3);
    drop(process);
    ended(&machine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_run_says_why() {
    let machine = Machine::start().await;
    running(&machine).await;
    let exec = async |command: &[&str]| {
        let error =
            within(machine.runtime.exec("one", ExecSpec::command(command.iter().copied()))).await.err().unwrap();
        (error.code(), error.to_string())
    };
    let (code, text) = exec(&["nosuch"]).await;
    assert_eq!(code, "command_not_found", "{text}");
    let (code, text) = exec(&["/etc/passwd"]).await;
    assert_eq!(code, "permission_denied", "{text}");
    assert_eq!(exec(&[]).await.0, "runtime_failed");
    let missing = within(machine.runtime.exec("two", shell("true"))).await.err().unwrap();
    assert_eq!(missing.code(), "container_not_found");
    within(machine.runtime.signal("one", Signal::TERM)).await.unwrap();
    within(machine.runtime.wait("one")).await.unwrap();
    let late = within(machine.runtime.exec("one", shell("true"))).await.err().unwrap();
    assert_eq!(late.code(), "container_wrong_state", "{late}");
    within(machine.runtime.remove("one")).await.unwrap();
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_process_is_killed_and_a_signalled_one_ends() {
    let machine = Machine::start().await;
    running(&machine).await;
    let mut process = within(machine.runtime.exec("one", shell("sleep 600"))).await.unwrap();
    process.signal(Signal::KILL).await.unwrap();
    assert_eq!(within(process.wait()).await.unwrap().code, 137);
    process.signal(Signal::TERM).await.unwrap();
    drop(process);
    let mut process = within(machine.runtime.exec("one", shell("echo begun; sleep 654321"))).await.unwrap();
    let mut stdout = process.take_stdout().unwrap();
    let mut line = [0; 6];
    within(stdout.read_exact(&mut line)).await.unwrap();
    drop(process);
    // The output ends when the process does.
    let mut rest = String::new();
    within(stdout.read_to_string(&mut rest)).await.unwrap();
    ended(&machine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_ends_with_its_container() {
    let machine = Machine::start().await;
    running(&machine).await;
    let mut process = within(machine.runtime.exec("one", shell("sleep 600"))).await.unwrap();
    let wait = async { within(process.wait()).await };
    let (ended, removed) = tokio::join!(wait, machine.runtime.remove("one"));
    removed.unwrap();
    // Either its end was seen, or it vanished with the container.
    match ended {
        Ok(exit) => assert_eq!(exit.code, 137),
        Err(error) => assert_eq!(error.code(), "container_not_found"),
    }
    drop(process);
    machine.finish().await;
}

async fn ended(machine: &Machine) {
    within(machine.runtime.remove("one")).await.unwrap();
    let directory = machine.config.run_dir.join("exec/one");
    within(async {
        // Taken away in the background when a process is dropped.
        while directory.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
}
