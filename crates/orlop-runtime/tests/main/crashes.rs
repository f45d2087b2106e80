//! Whatever dies, and whenever: the next call copes with what is there.

use crate::support::{Machine, within};
use orlop_model::spec::{Image, PullPolicy, Signal};
use orlop_runtime::{ContainerRuntime, ContainerSpec, ContainerState, Containerd, ExecSpec, RuntimeError};
use std::collections::BTreeMap;
use std::pin::pin;
use std::task::Poll;

/// Polls a future so often at most: what is not done then is dropped, as a crash would.
async fn cut<T>(work: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut work = pin!(work);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        work.as_mut().poll(context).map(Some)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_cut_at_any_point_can_be_done_again_or_undone() {
    let machine = Machine::start().await;
    let image = machine.busybox().await;
    let mut done = false;
    let mut polls = 1;
    while !done {
        for again in [true, false] {
            // A process of its own each time: nothing is remembered.
            let runtime = Containerd::new(machine.config.clone()).unwrap();
            runtime.check().await.unwrap();
            let spec = machine.script("one", &image, "exit 9");
            done = within(cut(runtime.create(&spec), polls)).await.is_some();
            let next = Containerd::new(machine.config.clone()).unwrap();
            if again {
                within(next.create(&spec)).await.unwrap();
                within(next.start("one")).await.unwrap();
                assert_eq!(within(next.wait("one")).await.unwrap().code, 9);
            }
            within(next.remove("one")).await.unwrap();
            assert_eq!(within(next.list()).await.unwrap(), [], "cut after {polls} polls");
        }
        polls += 1;
    }
    assert!(polls > 4, "nothing was cut");
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_cut_at_any_point_can_be_done_again() {
    let machine = Machine::start().await;
    let image = machine.busybox().await;
    let mut done = false;
    let mut polls = 1;
    while !done {
        let runtime = &machine.runtime;
        let spec = machine.script("one", &image, "sleep 600");
        within(runtime.create(&spec)).await.unwrap();
        within(runtime.start("one")).await.unwrap();
        done = within(cut(runtime.remove("one"), polls)).await.is_some();
        within(Containerd::new(machine.config.clone()).unwrap().remove("one")).await.unwrap();
        assert_eq!(within(runtime.list()).await.unwrap(), [], "cut after {polls} polls");
        polls += 1;
    }
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_lives_through_the_death_of_containerd_and_waiting_goes_on() {
    let mut machine = Machine::start().await;
    let image = machine.busybox().await;
    let stop = machine.path("stop");
    std::fs::create_dir(&stop).unwrap();
    let mut spec =
        machine.script("one", &image, "echo ready; while [ ! -e /stop/now ]; do sleep 0.05; done; echo bye; exit 6");
    spec.mounts.push(orlop_runtime::Mount {
        target: "/stop".into(),
        read_only: true,
        source: orlop_runtime::MountSource::Bind(stop.clone()),
    });
    let other = machine.script("two", &image, "echo ready; while true; do sleep 0.05; done");
    for spec in [&spec, &other] {
        within(machine.runtime.create(spec)).await.unwrap();
        within(machine.runtime.start(&spec.id)).await.unwrap();
        machine.wrote(&spec.id, "ready").await;
    }
    let pid = async |machine: &Machine, id: &str| {
        let list = within(machine.runtime.list()).await.unwrap();
        match list.iter().find(|info| info.id == id).unwrap().state {
            ContainerState::Running { pid, started_at } => (pid, started_at),
            state => panic!("{state:?}"),
        }
    };
    let before = (pid(&machine, "one").await, pid(&machine, "two").await);
    let waiting = tokio::spawn({
        let runtime = machine.runtime.clone();
        async move { runtime.wait("one").await }
    });

    let daemon = machine.daemon.as_ref().unwrap().pid();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(daemon as i32), nix::sys::signal::Signal::SIGKILL).unwrap();
    let error = within(async {
        // Until the kernel has closed its socket.
        loop {
            if let Err(error) = machine.runtime.list().await {
                return error;
            }
        }
    })
    .await;
    assert!(matches!(error, RuntimeError::Unavailable { .. }), "{error}");
    // It ends while nobody can tell us.
    std::fs::write(stop.join("now"), "").unwrap();
    machine.wrote("one", "bye").await;
    assert!(!waiting.is_finished());

    machine.restart_containerd().await;
    assert_eq!(within(waiting).await.unwrap().unwrap().code, 6);
    assert_eq!(pid(&machine, "two").await, before.1);
    // Somebody new knows as much.
    let runtime = Containerd::new(machine.config.clone()).unwrap();
    assert_eq!(within(runtime.wait("one")).await.unwrap().code, 6);
    within(runtime.signal("two", Signal::KILL)).await.unwrap();
    assert_eq!(within(runtime.wait("two")).await.unwrap().code, 137);
    for id in ["one", "two"] {
        within(runtime.remove(id)).await.unwrap();
    }
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_whose_shim_is_killed_is_known_to_have_ended_and_can_be_removed() {
    let machine = Machine::start().await;
    let image = machine.busybox().await;
    let spec = machine.script("one", &image, "echo ready; while true; do sleep 0.05; done");
    within(machine.runtime.create(&spec)).await.unwrap();
    within(machine.runtime.start("one")).await.unwrap();
    machine.wrote("one", "ready").await;
    for pid in machine.shim_pids() {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    }
    let ended = within(machine.runtime.wait("one")).await;
    assert!(matches!(&ended, Err(RuntimeError::NotFound { .. })) || ended.is_ok_and(|exit| exit.code == 137));
    within(machine.runtime.remove("one")).await.unwrap();
    machine.finish().await;
}

/// More containers than a machine of this size makes side by side, so that some of them share a shim.
fn kin(machine: &Machine, image: &orlop_runtime::ResolvedImage) -> Vec<ContainerSpec> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let number = (2 * cores).clamp(4, 16) + 3;
    let script = "echo ready; while true; do sleep 0.05; done";
    let spec = |n: usize| machine.script(&format!("kin{n}"), image, script);
    (0..number).map(|n| ContainerSpec { kin: Some("app/web".into()), ..spec(n) }).collect()
}

async fn create_all(runtime: &Containerd, specs: &[ContainerSpec]) -> Vec<Result<(), RuntimeError>> {
    within(futures::future::join_all(specs.iter().map(|spec| runtime.create(spec)))).await
}

/// The containers that run, by their shim.
async fn by_shim(runtime: &Containerd) -> BTreeMap<u32, BTreeMap<String, u32>> {
    let mut found: BTreeMap<u32, BTreeMap<String, u32>> = BTreeMap::new();
    for info in within(runtime.list()).await.unwrap() {
        let ContainerState::Running { pid, .. } = info.state else { continue };
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap();
        found.entry(parent).or_default().insert(info.id, pid);
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_made_in_one_burst_share_shims_and_live_and_end_each_by_itself() {
    let mut machine = Machine::start().await;
    let image = machine.busybox().await;
    let specs = kin(&machine, &image);
    assert!(create_all(&machine.runtime, &specs).await.iter().all(Result::is_ok));
    for spec in &specs {
        within(machine.runtime.start(&spec.id)).await.unwrap();
    }
    let before = by_shim(&machine.runtime).await;
    assert!(before.len() < specs.len() && before.values().all(|containers| containers.len() <= 8), "{before:?}");
    let (shim, together) = before.iter().max_by_key(|(_, containers)| containers.len()).unwrap();
    let ids: Vec<&String> = together.keys().collect();

    // One of them ends, and is removed; another one's exec, output and end are its own.
    within(machine.runtime.remove(ids[0])).await.unwrap();
    machine.wrote(ids[1], "ready").await;
    let mut exec = within(machine.runtime.exec(ids[1], ExecSpec::command(["sh", "-c", "exit 4"]))).await.unwrap();
    assert_eq!(within(exec.wait()).await.unwrap().code, 4);
    drop(exec);
    // One that is made now does not join a shim that may be about to end.
    let spec = specs.iter().find(|spec| &spec.id == ids[0]).unwrap();
    within(machine.runtime.create(spec)).await.unwrap();
    within(machine.runtime.start(&spec.id)).await.unwrap();
    assert!(!by_shim(&machine.runtime).await[shim].contains_key(ids[0]));

    // The next containerd finds all of them.
    machine.daemon.take().unwrap().stop().await.unwrap();
    machine.restart_containerd().await;
    let runtime = Containerd::new(machine.config.clone()).unwrap();
    let found: usize = by_shim(&runtime).await.values().map(BTreeMap::len).sum();
    assert_eq!(found, specs.len());
    within(runtime.signal(ids[1], Signal::KILL)).await.unwrap();
    assert_eq!(within(runtime.wait(ids[1])).await.unwrap().code, 137);
    for spec in &specs {
        within(runtime.remove(&spec.id)).await.unwrap();
    }
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_shim_that_is_killed_ends_its_own_containers_and_no_others() {
    let machine = Machine::start().await;
    let image = machine.busybox().await;
    let specs = kin(&machine, &image);
    assert!(create_all(&machine.runtime, &specs).await.iter().all(Result::is_ok));
    for spec in &specs {
        within(machine.runtime.start(&spec.id)).await.unwrap();
    }
    let mut before = by_shim(&machine.runtime).await;
    let shim = *before.iter().max_by_key(|(_, containers)| containers.len()).unwrap().0;
    let killed = before.remove(&shim).unwrap();
    assert!(killed.len() > 1, "{killed:?} {before:?}");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim as i32), nix::sys::signal::Signal::SIGKILL).unwrap();
    for id in killed.keys() {
        let ended = within(machine.runtime.wait(id)).await;
        assert!(matches!(&ended, Err(RuntimeError::NotFound { .. })) || ended.is_ok_and(|exit| exit.code == 137));
        within(machine.runtime.remove(id)).await.unwrap();
    }
    // Whoever inherits an orphan may take its time to reap it; what is dead has no program any more.
    assert!(killed.values().all(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).is_err()), "{killed:?}");
    assert_eq!(by_shim(&machine.runtime).await, before);
    for spec in specs.iter().filter(|spec| !killed.contains_key(&spec.id)) {
        within(machine.runtime.remove(&spec.id)).await.unwrap();
    }
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_cannot_be_made_harms_none_of_its_kin() {
    let machine = Machine::start().await;
    let image = machine.busybox().await;
    let mut specs = kin(&machine, &image);
    // Every second one, the first of each shim among them: a shim ends when its only container could not be made.
    for spec in specs.iter_mut().step_by(2) {
        spec.command = Some(vec!["/nowhere".into()]);
    }
    for (n, result) in create_all(&machine.runtime, &specs).await.into_iter().enumerate() {
        match result {
            Ok(()) => assert_eq!(n % 2, 1),
            Err(error) => assert!(matches!(error, RuntimeError::CommandNotFound { .. }) && n % 2 == 0, "{n}: {error}"),
        }
    }
    for spec in specs.iter().skip(1).step_by(2) {
        within(machine.runtime.start(&spec.id)).await.unwrap();
        within(machine.runtime.remove(&spec.id)).await.unwrap();
    }
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_containerd_says_so_and_works_later() {
    let mut machine = Machine::start().await;
    let image = machine.busybox().await;
    machine.daemon.take().unwrap().stop().await.unwrap();
    let name = Image { name: image.name.clone(), pull_policy: PullPolicy::Never };
    let error = within(machine.runtime.ensure_image(&name)).await.unwrap_err();
    assert_eq!((error.code(), error.is_permanent()), ("runtime_unavailable", false));
    assert!(error.to_string().contains("containerd.sock"), "{error}");
    machine.restart_containerd().await;
    assert_eq!(within(machine.runtime.ensure_image(&name)).await.unwrap(), image);
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_containerd_left_behind_is_adopted_and_taken_away_with_its_containers() {
    use orlop_runtime::containerd::{Daemon, remove_leftovers};
    let mut machine = Machine::start().await;
    let image = machine.busybox().await;
    let spec = machine.script("one", &image, "echo ready; while true; do sleep 0.05; done");
    within(machine.runtime.create(&spec)).await.unwrap();
    within(machine.runtime.start("one")).await.unwrap();
    let first = machine.daemon.take().unwrap();
    let (data, run) = (machine.path("data"), machine.path("run"));
    let second = Daemon::start(&data, &run).await.unwrap();
    assert_eq!(second.pid(), first.pid());
    assert!(Daemon::detect(&second.socket()).await.is_some());
    second.stop_all().await.unwrap();
    assert_eq!(machine.shims(), 0);
    assert!(Daemon::detect(&first.socket()).await.is_none());
    // Twice is harmless, and what is on disk is found again.
    remove_leftovers(&data, &run).unwrap();
    machine.restart_containerd().await;
    let list = within(machine.runtime.list()).await.unwrap();
    assert_eq!(list.iter().map(|info| info.state).collect::<Vec<_>>(), [ContainerState::NoTask]);
    within(machine.runtime.remove("one")).await.unwrap();
    machine.finish().await;
}
