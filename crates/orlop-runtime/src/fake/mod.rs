//! A runtime in memory, for tests: same trait, no processes, no time of its own.
//!
//! Nothing happens by itself but what the script says: a program runs until [`FakeRuntime::exit`], a signal that ends
//! it, or at once when its image [`exits`](Behaviour::exits). Calls can be [held](FakeRuntime::hold) and
//! [failed](FakeRuntime::fail) to get between the steps of a caller, and are recorded.

use crate::container::{
    ContainerInfo, ContainerSpec, ContainerState, ExecProcess, ExecSpec, Input, LostLogger, Output, TerminalSize,
};
use crate::image::{ImageConfig, ImageInfo, ResolvedImage};
use crate::{Archive, ContainerRuntime, RuntimeError};
use async_trait::async_trait;
use orlop_model::spec::{Image, PullPolicy, Signal};
use orlop_model::{Exit, Resources, Timestamp};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;

/// A call of the trait, by name; what [`FakeRuntime::hold`] and [`FakeRuntime::fail`] are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "named after the methods of the trait")]
pub enum Operation {
    EnsureImage,
    Import,
    Images,
    RemoveImage,
    Create,
    Start,
    Wait,
    Signal,
    Remove,
    List,
    Exec,
}

/// How containers of an image behave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviour {
    /// What the image says of itself.
    pub config: ImageConfig,
    /// Must the registry be asked for it (so that `pull_policy: never` does not find it until it was pulled)?
    pub remote: bool,
    /// Programs end with this code as soon as they start.
    pub exits: Option<u32>,
    /// Only SIGKILL ends it.
    pub ignores_signals: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            config: ImageConfig { cmd: vec!["/main".into()], ..ImageConfig::default() },
            remote: true,
            exits: None,
            ignores_signals: false,
        }
    }
}

/// How a command run by `exec` behaves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecBehaviour {
    /// Ends with this code; without one it runs until SIGKILL.
    pub exits: Option<u32>,
    /// What it writes.
    pub stdout: Vec<u8>,
}

/// A call that was made, with the container's id or the image's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Which.
    pub operation: Operation,
    /// About what; empty for calls about everything.
    pub subject: String,
}

/// A runtime in memory whose images, pulls and exits follow a script. Cheap to clone; clones share everything, so a
/// test keeps one to steer what it gave away, and a new agent gets a clone to find the old one's containers.
#[derive(Clone)]
pub struct FakeRuntime {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
    world: Mutex<World>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct World {
    images: BTreeMap<String, Behaviour>,
    present: BTreeSet<String>,
    containers: BTreeMap<String, Container>,
    execs: BTreeMap<String, ExecBehaviour>,
    faults: BTreeMap<Operation, VecDeque<RuntimeError>>,
    held: BTreeSet<(Operation, String)>,
    gone: bool,
    lost_loggers: Vec<LostLogger>,
    without_limits: bool,
    calls: Vec<Call>,
    next_pid: u32,
}

struct Container {
    spec: ContainerSpec,
    behaviour: Behaviour,
    state: ContainerState,
    signals: Vec<Signal>,
}

impl FakeRuntime {
    /// An empty world with this clock.
    pub fn new(clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self {
            shared: Arc::new(Shared {
                clock: Box::new(clock),
                world: Mutex::new(World { next_pid: 1000, ..World::default() }),
                changed: watch::Sender::new(0),
            }),
        }
    }

    /// Puts an image into the world; an image of the same name is replaced.
    pub fn add_image(&self, name: impl Into<String>, behaviour: Behaviour) {
        self.change(|world| {
            world.images.insert(name.into(), behaviour);
        });
    }

    /// Says how `exec` of this program behaves; without a word it ends with 0 and writes nothing.
    pub fn add_exec(&self, program: impl Into<String>, behaviour: ExecBehaviour) {
        self.change(|world| {
            world.execs.insert(program.into(), behaviour);
        });
    }

    /// Fails the next call of this kind; several queue up.
    pub fn fail(&self, operation: Operation, error: RuntimeError) {
        self.change(|world| world.faults.entry(operation).or_default().push_back(error));
    }

    /// Keeps calls of this kind about this subject (a container's id, an image's name) from going on until `release`.
    pub fn hold(&self, operation: Operation, subject: impl Into<String>) {
        self.change(|world| {
            world.held.insert((operation, subject.into()));
        });
    }

    /// Lets held calls go on.
    pub fn release(&self, operation: Operation, subject: &str) {
        self.change(|world| {
            world.held.remove(&(operation, subject.to_owned()));
        });
    }

    /// Ends a running container's program with this code. False when it does not run.
    pub fn exit(&self, id: &str, code: u32) -> bool {
        self.end(id, code, false)
    }

    /// Ends a running container's program as the kernel does when it used too much memory. False when it does not run.
    pub fn out_of_memory(&self, id: &str) -> bool {
        self.end(id, 137, true)
    }

    /// Takes the runtime away or gives it back: while away, calls are `Unavailable`, and containers live on.
    pub fn set_available(&self, available: bool) {
        self.change(|world| world.gone = !available);
    }

    /// Kills the logger of a container; when it is mended, this comes of it.
    pub fn lose_logger(&self, id: &str, outcome: Result<(), String>) {
        self.change(|world| world.lost_loggers.push(LostLogger { id: id.to_owned(), outcome }));
    }

    /// Plays a machine that enforces no limits.
    pub fn set_without_limits(&self) {
        self.change(|world| world.without_limits = true);
    }

    /// Takes the processes of all containers away without a trace, as a restart of the machine does.
    pub fn reboot(&self) {
        self.change(|world| world.containers.values_mut().for_each(|c| c.state = ContainerState::NoTask));
    }

    /// The spec that a container was created with.
    pub fn spec(&self, id: &str) -> Option<ContainerSpec> {
        self.shared.world.lock().containers.get(id).map(|c| c.spec.clone())
    }

    /// The signals that a container was sent while it ran.
    pub fn signals(&self, id: &str) -> Vec<Signal> {
        self.shared.world.lock().containers.get(id).map(|c| c.signals.clone()).unwrap_or_default()
    }

    /// Takes the record of calls since the last time.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.shared.world.lock().calls)
    }

    /// Waits until the world is as the test wants it.
    pub async fn until(&self, holds: impl Fn(&FakeRuntime) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if holds(self) {
                return;
            }
            // The sender lives in `self`.
            let _ = changed.changed().await;
        }
    }

    fn now(&self) -> Timestamp {
        (self.shared.clock)()
    }

    fn change<T>(&self, f: impl FnOnce(&mut World) -> T) -> T {
        let result = f(&mut self.shared.world.lock());
        self.shared.changed.send_modify(|version| *version += 1);
        result
    }

    fn end(&self, id: &str, code: u32, out_of_memory: bool) -> bool {
        let at = self.now();
        self.change(|world| match world.containers.get_mut(id) {
            Some(c) if matches!(c.state, ContainerState::Running { .. }) => {
                c.state = ContainerState::Stopped(Exit { code, out_of_memory, at });
                true
            }
            _ => false,
        })
    }

    /// Records the call, waits while it is held, and fails it if the script says so.
    async fn enter(&self, operation: Operation, subject: &str) -> Result<(), RuntimeError> {
        self.change(|world| world.calls.push(Call { operation, subject: subject.to_owned() }));
        let key = (operation, subject.to_owned());
        self.until(|fake| !fake.shared.world.lock().held.contains(&key)).await;
        self.change(|world| {
            if world.gone {
                return Err(RuntimeError::Unavailable { socket: "fake".into(), detail: "it was taken away".into() });
            }
            match world.faults.get_mut(&operation).and_then(VecDeque::pop_front) {
                Some(error) => Err(error),
                None => Ok(()),
            }
        })
    }
}

fn no_container(id: &str) -> RuntimeError {
    RuntimeError::NotFound { what: format!("container {id}") }
}

/// A digest that looks like one and differs by name.
fn digest(name: &str) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    name.bytes().for_each(|byte| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("sha256:{hash:064x}")
}

#[async_trait]
impl ContainerRuntime for FakeRuntime {
    async fn ensure_image(&self, image: &Image) -> Result<ResolvedImage, RuntimeError> {
        self.enter(Operation::EnsureImage, &image.name).await?;
        self.change(|world| {
            let missing =
                |detail: &str| RuntimeError::ImageNotFound { image: image.name.clone(), detail: detail.into() };
            let behaviour = world.images.get(&image.name).ok_or_else(|| missing("the registry does not have it"))?;
            if behaviour.remote && image.pull_policy == PullPolicy::Never && !world.present.contains(&image.name) {
                return Err(missing("it is not on the node and pull_policy is never"));
            }
            world.present.insert(image.name.clone());
            let digest = digest(&image.name);
            Ok(ResolvedImage {
                name: image.name.clone(),
                chain_id: digest.clone(),
                digest,
                config: Arc::new(behaviour.config.clone()),
            })
        })
    }

    async fn import(&self, mut archive: Archive, name: Option<&str>) -> Result<Vec<ImageInfo>, RuntimeError> {
        self.enter(Operation::Import, name.unwrap_or_default()).await?;
        let mut bytes = Vec::new();
        let size = tokio::io::AsyncReadExt::read_to_end(&mut archive, &mut bytes)
            .await
            .map_err(|error| RuntimeError::other("reading the archive", error))?;
        let name = name.unwrap_or("imported.example/image:latest").to_owned();
        self.change(|world| {
            world.images.insert(name.clone(), Behaviour { remote: false, ..Behaviour::default() });
            world.present.insert(name.clone());
        });
        Ok(vec![ImageInfo { digest: digest(&name), name, size: size as u64 }])
    }

    async fn images(&self) -> Result<Vec<ImageInfo>, RuntimeError> {
        self.enter(Operation::Images, "").await?;
        let world = self.shared.world.lock();
        Ok(world.present.iter().map(|n| ImageInfo { name: n.clone(), digest: digest(n), size: 0 }).collect())
    }

    async fn remove_image(&self, name: &str) -> Result<bool, RuntimeError> {
        self.enter(Operation::RemoveImage, name).await?;
        self.change(|world| Ok(world.present.remove(name)))
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        self.enter(Operation::Create, &spec.id).await?;
        self.change(|world| {
            if let Some(c) = world.containers.get(&spec.id)
                && matches!(c.state, ContainerState::Running { .. })
            {
                return Err(RuntimeError::WrongState { id: spec.id.clone(), found: "running", asked: "creating it" });
            }
            let behaviour = world.images.get(&spec.image.name).cloned().unwrap_or_default();
            if crate::oci::process_args(spec).is_empty() {
                return Err(RuntimeError::NoCommand { image: spec.image.name.clone() });
            }
            let container =
                Container { spec: spec.clone(), behaviour, state: ContainerState::Created, signals: Vec::new() };
            world.containers.insert(spec.id.clone(), container);
            Ok(())
        })
    }

    fn unenforced(&self, resources: &Resources) -> Vec<&'static str> {
        let missing = self.shared.world.lock().without_limits;
        let cpu = (missing && resources.cpu.is_some()).then_some("cpu");
        let memory = (missing && resources.memory.is_some()).then_some("memory");
        cpu.into_iter().chain(memory).collect()
    }

    async fn start(&self, id: &str) -> Result<(), RuntimeError> {
        self.enter(Operation::Start, id).await?;
        let started_at = self.now();
        self.change(|world| {
            world.next_pid += 1;
            let pid = world.next_pid;
            let container = world.containers.get_mut(id).ok_or_else(|| no_container(id))?;
            match container.state {
                ContainerState::Created => {
                    container.state = match container.behaviour.exits {
                        Some(code) => ContainerState::Stopped(Exit { code, out_of_memory: false, at: started_at }),
                        None => ContainerState::Running { pid, started_at },
                    };
                    Ok(())
                }
                ContainerState::Running { .. } | ContainerState::Stopped(_) => Ok(()),
                ContainerState::NoTask => Err(no_container(id)),
            }
        })
    }

    async fn wait(&self, id: &str) -> Result<Exit, RuntimeError> {
        self.change(|world| world.calls.push(Call { operation: Operation::Wait, subject: id.to_owned() }));
        let mut changed = self.shared.changed.subscribe();
        loop {
            changed.mark_unchanged();
            {
                let world = self.shared.world.lock();
                let held = world.gone || world.held.contains(&(Operation::Wait, id.to_owned()));
                if !held {
                    match world.containers.get(id).map(|c| c.state) {
                        Some(ContainerState::Stopped(exit)) => return Ok(exit),
                        Some(ContainerState::Created | ContainerState::Running { .. }) => {}
                        Some(ContainerState::NoTask) | None => return Err(no_container(id)),
                    }
                }
            }
            // The sender lives in `self`.
            let _ = changed.changed().await;
        }
    }

    async fn signal(&self, id: &str, signal: Signal) -> Result<(), RuntimeError> {
        self.enter(Operation::Signal, id).await?;
        let ends = self.change(|world| {
            let container = world.containers.get_mut(id).ok_or_else(|| no_container(id))?;
            if !matches!(container.state, ContainerState::Running { .. }) {
                return Ok(false);
            }
            container.signals.push(signal);
            Ok(signal == Signal::KILL || !container.behaviour.ignores_signals)
        })?;
        if ends {
            self.end(id, 128 + u32::from(signal.number()), false);
        }
        Ok(())
    }

    async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        self.enter(Operation::Remove, id).await?;
        self.change(|world| world.containers.remove(id));
        Ok(())
    }

    async fn list(&self) -> Result<Vec<ContainerInfo>, RuntimeError> {
        self.enter(Operation::List, "").await?;
        let world = self.shared.world.lock();
        Ok(world
            .containers
            .iter()
            .map(|(id, c)| ContainerInfo { id: id.clone(), labels: c.spec.labels.clone(), state: c.state })
            .collect())
    }

    async fn mend_loggers(&self) -> Vec<LostLogger> {
        std::mem::take(&mut self.shared.world.lock().lost_loggers)
    }

    async fn exec(&self, id: &str, exec: ExecSpec) -> Result<Box<dyn ExecProcess>, RuntimeError> {
        self.enter(Operation::Exec, id).await?;
        let world = self.shared.world.lock();
        let container = world.containers.get(id).ok_or_else(|| no_container(id))?;
        if !matches!(container.state, ContainerState::Running { .. }) {
            return Err(RuntimeError::WrongState { id: id.into(), found: "not running", asked: "exec" });
        }
        let program = exec.command.first().cloned().unwrap_or_default();
        let behaviour = match world.execs.get(&program) {
            Some(behaviour) => behaviour.clone(),
            None => ExecBehaviour { exits: Some(0), stdout: Vec::new() },
        };
        Ok(Box::new(FakeExec {
            fake: self.clone(),
            container: id.to_owned(),
            stdin: exec.stdin,
            stdout: Some(behaviour.stdout),
            stderr: exec.terminal.is_none(),
            terminal: exec.terminal.is_some(),
            exit: watch::Sender::new(behaviour.exits),
        }))
    }
}

struct FakeExec {
    fake: FakeRuntime,
    container: String,
    stdin: bool,
    stdout: Option<Vec<u8>>,
    stderr: bool,
    terminal: bool,
    exit: watch::Sender<Option<u32>>,
}

#[async_trait]
impl ExecProcess for FakeExec {
    fn take_stdin(&mut self) -> Option<Input> {
        std::mem::take(&mut self.stdin).then(|| Box::new(tokio::io::sink()) as Input)
    }

    fn take_stdout(&mut self) -> Option<Output> {
        self.stdout.take().map(|bytes| Box::new(std::io::Cursor::new(bytes)) as Output)
    }

    fn take_stderr(&mut self) -> Option<Output> {
        std::mem::take(&mut self.stderr).then(|| Box::new(tokio::io::empty()) as Output)
    }

    async fn wait(&mut self) -> Result<Exit, RuntimeError> {
        let mut exit = self.exit.subscribe();
        let runs = |fake: &FakeRuntime| {
            let world = fake.shared.world.lock();
            world.containers.get(&self.container).is_some_and(|c| matches!(c.state, ContainerState::Running { .. }))
        };
        let code = tokio::select! {
            biased;
            code = exit.wait_for(Option::is_some) => code.ok().and_then(|code| *code).unwrap_or(137),
            // The kernel ends what is left in a container with its first process.
            () = self.fake.until(|fake| !runs(fake)) => 137,
        };
        Ok(Exit { code, out_of_memory: false, at: self.fake.now() })
    }

    async fn resize(&self, _size: TerminalSize) -> Result<(), RuntimeError> {
        if self.terminal {
            return Ok(());
        }
        Err(RuntimeError::WrongState { id: self.container.clone(), found: "without a terminal", asked: "resizing it" })
    }

    async fn signal(&self, signal: Signal) -> Result<(), RuntimeError> {
        let code = 128 + u32::from(signal.number());
        self.exit.send_if_modified(|exit| exit.is_none() && exit.replace(code).is_none());
        Ok(())
    }
}

impl fmt::Debug for FakeRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let world = self.shared.world.lock();
        f.debug_struct("FakeRuntime").field("containers", &world.containers.keys()).finish_non_exhaustive()
    }
}
