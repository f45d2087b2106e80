//! The files of secrets, in memory.
//!
//! ```text
//! <secrets>/                      a tmpfs that only root may enter; mounted for the first file, unmounted after the last
//! <secrets>/<replica>/0/, 1/, …   mounted into the replica's containers, read-only, in the order of their targets
//! <secrets>/<replica>/note        what an agent that starts again must know of them
//! ```
//!
//! They live as long as processes can: longer than an agent, and not longer than the machine is up. A file is replaced by
//! a rename, so that who reads sees one value, whole.
//!
//! The note has the revision of the view that the values are from. An agent that was killed may start with a view from
//! before, because views are written down a moment after they came; values that are there are not taken back for it.

use orlop_agent_core::Failure;
use orlop_model::spec::{OnSecretChange, SecretFile, Signal};
use orlop_model::{Assignment, ReplicaId, Revision};
use orlop_runtime::{Mount, MountSource};
use parking_lot::Mutex;
use prost::Message;
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The files of all replicas of the node; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Secrets {
    root: PathBuf,
    /// One at a time, so that the last one out can unmount.
    turn: Arc<Mutex<()>>,
}

/// What is written down beside the files. Fields are only ever added.
#[derive(Clone, PartialEq, Message)]
struct Note {
    /// Of the newest view that files have values of.
    #[prost(uint64, tag = "1")]
    revision: u64,
    /// What the process is still to get for values that changed under it.
    #[prost(uint32, repeated, tag = "2")]
    signals: Vec<u32>,
}

impl Note {
    fn signals(&self) -> BTreeSet<Signal> {
        self.signals.iter().copied().filter_map(Signal::from_number).collect()
    }
}

/// Are the values of all files of the replica here?
pub(crate) fn check_secrets(assignment: &Assignment) -> Result<(), Failure> {
    assignment.workload.secret_files.iter().try_for_each(|file| value_of(file, assignment).map(drop))
}

fn value_of<'a>(file: &SecretFile, assignment: &'a Assignment) -> Result<&'a [u8], Failure> {
    let value = assignment.secrets.get(&file.secret).map(|value| &*value.0);
    value.ok_or_else(|| {
        let message = format!("secret {} was not sent to this node; look at `orlopctl secret ls`", file.secret);
        Failure::permanent("secret_unusable", message)
    })
}

/// Blocks the thread for it, not the agent.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    let died = |_| Failure::infrastructure("agent_fault", "the agent has a fault; its log has the details");
    tokio::task::spawn_blocking(work).await.map_err(died).flatten()
}

impl Secrets {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, turn: Arc::default() }
    }

    /// What a container of the replica has mounted.
    pub(crate) fn mounts(&self, assignment: &Assignment) -> Vec<Mount> {
        let directories = assignment.workload.secret_directories();
        let mount = |(index, target): (usize, &str)| Mount {
            target: target.to_owned(),
            read_only: true,
            source: MountSource::Data(self.directory(assignment.replica.id, index)),
        };
        directories.into_iter().enumerate().map(mount).collect()
    }

    /// Gives all files of a replica the values of the view of a revision, before a process begins that reads them.
    pub(crate) async fn place(&self, assignment: &Assignment, revision: Revision) -> Result<(), Failure> {
        if assignment.workload.secret_files.is_empty() {
            return Ok(());
        }
        let (this, assignment) = (self.clone(), assignment.clone());
        aside(move || {
            check_secrets(&assignment)?;
            let _turn = this.turn.lock();
            this.place_all(&assignment, revision).map_err(|error| this.unwritten(&error))
        })
        .await
    }

    /// Gives those files of a replica the values that change under its process. Tells which signals the process is to get.
    pub(crate) async fn refresh(
        &self,
        assignment: &Assignment,
        revision: Revision,
    ) -> Result<BTreeSet<Signal>, Failure> {
        let (this, assignment) = (self.clone(), assignment.clone());
        aside(move || {
            for file in assignment.workload.changing_files() {
                value_of(file, &assignment)?;
            }
            let _turn = this.turn.lock();
            this.change(&assignment, revision).map_err(|error| this.unwritten(&error))
        })
        .await
    }

    /// Remembers that a process has got all signals.
    pub(crate) async fn told(&self, replica: ReplicaId) -> Result<(), Failure> {
        let this = self.clone();
        aside(move || {
            let _turn = this.turn.lock();
            let note = Note { signals: Vec::new(), ..this.note(replica) };
            this.write_note(replica, &note).map_err(|error| this.unwritten(&error))
        })
        .await
    }

    /// Removes the files of a replica; that there are none is success.
    pub(crate) fn remove(&self, replica: ReplicaId) -> Result<(), Failure> {
        let _turn = self.turn.lock();
        let removed = match fs::remove_dir_all(self.of(replica)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        self.unmount_if_empty();
        removed.map_err(|error| {
            let message = format!("the secrets in {} were not removed: {error}", self.of(replica).display());
            Failure::infrastructure("secrets_left", message)
        })
    }

    /// The replicas that have files.
    pub(crate) fn found(&self) -> Vec<ReplicaId> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    fn of(&self, replica: ReplicaId) -> PathBuf {
        self.root.join(replica.to_string())
    }

    fn directory(&self, replica: ReplicaId, index: usize) -> PathBuf {
        self.of(replica).join(index.to_string())
    }

    /// Where a file is on the node.
    fn path(&self, assignment: &Assignment, file: &SecretFile) -> io::Result<PathBuf> {
        let path = Path::new(file.path.as_str());
        let directories = assignment.workload.secret_directories();
        let place = directories.iter().enumerate().find_map(|(i, target)| Some((i, path.strip_prefix(target).ok()?)));
        let (index, below) = place.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.directory(assignment.replica.id, index).join(below))
    }

    fn place_all(&self, assignment: &Assignment, revision: Revision) -> io::Result<()> {
        mount(&self.root)?;
        let replica = assignment.replica.id;
        make_directory(&self.of(replica), 0o700)?;
        let note = self.note(replica);
        let newest = note.revision.max(revision.0);
        // Before the values are: what is cut off here is no reason to go back.
        self.write_note(replica, &Note { revision: newest, signals: note.signals })?;
        for file in &assignment.workload.secret_files {
            let path = self.path(assignment, file)?;
            self.make_directories(replica, &path)?;
            if note.revision <= revision.0 || !path.exists() {
                self.write(assignment, file, &path)?;
            }
        }
        // A process that begins now is told nothing: it reads.
        self.write_note(replica, &Note { revision: newest, signals: Vec::new() })
    }

    fn change(&self, assignment: &Assignment, revision: Revision) -> io::Result<BTreeSet<Signal>> {
        let replica = assignment.replica.id;
        let mut note = self.note(replica);
        let mut signals = note.signals();
        if note.revision > revision.0 {
            return Ok(signals);
        }
        let mut changed = Vec::new();
        for file in assignment.workload.changing_files() {
            let path = self.path(assignment, file)?;
            if Some(fs::read(&path)?.as_slice()) != assignment.secrets.get(&file.secret).map(|value| &*value.0) {
                changed.push((file, path));
                if let OnSecretChange::Signal(signal) = file.on_change {
                    signals.insert(signal);
                }
            }
        }
        // Before the values are: they would not differ for an agent that is killed in between and starts again.
        note.revision = revision.0;
        note.signals = signals.iter().map(|signal| signal.number().into()).collect();
        self.write_note(replica, &note)?;
        for (file, path) in changed {
            self.write(assignment, file, &path)?;
        }
        Ok(signals)
    }

    /// The directories above a file, which those who may read it can pass.
    fn make_directories(&self, replica: ReplicaId, path: &Path) -> io::Result<()> {
        let above: Vec<&Path> = path.ancestors().skip(1).take_while(|above| *above != self.of(replica)).collect();
        above.into_iter().rev().try_for_each(|directory| make_directory(directory, 0o755))
    }

    fn write(&self, assignment: &Assignment, file: &SecretFile, path: &Path) -> io::Result<()> {
        let value = assignment.secrets.get(&file.secret).ok_or(io::ErrorKind::NotFound)?;
        let aside = self.of(assignment.replica.id).join("new");
        let mut writing = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        writing.write_all(&value.0)?;
        fchown(&writing, Some(file.uid), Some(file.gid))?;
        writing.set_permissions(Permissions::from_mode(file.mode.bits()))?;
        fs::rename(aside, path)
    }

    fn note(&self, replica: ReplicaId) -> Note {
        let bytes = fs::read(self.of(replica).join("note")).unwrap_or_default();
        Note::decode(bytes.as_slice()).unwrap_or_default()
    }

    fn write_note(&self, replica: ReplicaId, note: &Note) -> io::Result<()> {
        orlop_follower::write_whole(&self.of(replica).join("note"), &note.encode_to_vec())
    }

    fn unmount_if_empty(&self) {
        let is_empty = fs::read_dir(&self.root).is_ok_and(|mut entries| entries.next().is_none());
        if is_empty && is_mounted(&self.root).unwrap_or(false) {
            // Whoever is inside is no process of ours; the next one out tries again.
            let _ = nix::mount::umount(&self.root);
        }
    }

    fn unwritten(&self, error: &io::Error) -> Failure {
        let place = self.root.display();
        let message = match error.kind() {
            io::ErrorKind::StorageFull => {
                format!("the memory that the tmpfs at {place} may take is full; it is tried again by itself")
            }
            io::ErrorKind::PermissionDenied => format!("the secrets at {place}: {error}; run the agent as root"),
            _ => format!("the secrets at {place}: {error}; it is tried again by itself"),
        };
        Failure::infrastructure("secrets_unwritten", message)
    }
}

/// Takes away what is left of secrets of a node whose containers and agent are gone.
pub fn remove_secrets(secrets_dir: &Path) -> io::Result<()> {
    while is_mounted(secrets_dir)? {
        nix::mount::umount2(secrets_dir, nix::mount::MntFlags::MNT_DETACH)?;
    }
    match fs::remove_dir(secrets_dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // Whatever the agent's umask says.
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(mode)),
        Err(error) => Err(error),
    }
}

/// Sees that there is a tmpfs of ours, which the kernel does not write to a swap device where it knows how not to (since
/// Linux 6.4).
fn mount(root: &Path) -> io::Result<()> {
    use nix::mount::MsFlags;
    orlop_follower::private_directory(root)?;
    if is_mounted(root)? {
        return Ok(());
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let mount = |options| nix::mount::mount(Some("tmpfs"), root, Some("tmpfs"), flags, Some(options));
    match mount("mode=0700,noswap") {
        Err(nix::errno::Errno::EINVAL) => mount("mode=0700")?,
        result => result?,
    }
    Ok(())
}

/// Is there a tmpfs of its own at a path?
fn is_mounted(path: &Path) -> io::Result<bool> {
    let device = |path: &Path| match path.metadata() {
        Ok(metadata) => Ok(Some(metadata.dev())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let (Some(own), Some(around)) = (device(path)?, path.parent().map(device).transpose()?.flatten()) else {
        return Ok(false);
    };
    Ok(own != around && nix::sys::statfs::statfs(path)?.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::sample;
    use orlop_model::spec::{SecretMode, Workload};
    use orlop_model::trust::SecretValue;
    use std::collections::BTreeMap;

    const REPLICA: ReplicaId = ReplicaId::from_u128(7);

    struct Place {
        secrets: Secrets,
        _directory: tempfile::TempDir,
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = remove_secrets(&self.secrets.root);
        }
    }

    fn place() -> Place {
        let directory = tempfile::tempdir().expect("a directory");
        Place { secrets: Secrets::new(directory.path().join("deep/secrets")), _directory: directory }
    }

    fn hup() -> OnSecretChange {
        Signal::from_number(1).and_then(OnSecretChange::signal).expect("it is heard of")
    }

    fn file(secret: &str, path: &str, mode: u32, on_change: OnSecretChange) -> SecretFile {
        SecretFile {
            secret: secret.parse().expect("a name"),
            path: path.parse().expect("a path"),
            mode: SecretMode::from_bits(mode).expect("a mode"),
            uid: 1000,
            gid: 2000,
            on_change,
        }
    }

    /// All secrets have one value.
    fn assignment(value: &str) -> Assignment {
        let mut workload = Workload::of("registry.test/a:1");
        workload.secret_files = vec![
            file("signal", "/run/secrets/signal", 0o400, hup()),
            file("none", "/run/secrets/deep/er/none", 0o444, OnSecretChange::Nothing),
            file("restart", "/vault/restart", 0o440, OnSecretChange::Restart),
        ];
        let value = SecretValue(value.as_bytes().into());
        let secrets = workload.secrets().into_iter().map(|name| (name.clone(), value.clone())).collect();
        Assignment { secrets, ..sample::assignment(REPLICA, workload) }
    }

    fn values(secrets: &Secrets) -> Vec<String> {
        let assignment = assignment("");
        let path = |file| secrets.path(&assignment, file).expect("a path");
        let read = |file| fs::read_to_string(path(file)).expect("a file");
        assignment.workload.secret_files.iter().map(read).collect()
    }

    fn signals(numbers: &[u32]) -> BTreeSet<Signal> {
        numbers.iter().filter_map(|number| Signal::from_number(*number)).collect()
    }

    #[tokio::test]
    async fn files_are_in_memory_as_asked_for_and_gone_when_removed() {
        let place = place();
        let secrets = &place.secrets;
        assert_eq!(secrets.found(), []);
        secrets.place(&assignment("one"), Revision(5)).await.expect("placed");
        assert!(is_mounted(&secrets.root).expect("looked at"), "a tmpfs");
        assert_eq!(secrets.root.metadata().expect("a directory").mode() & 0o7777, 0o700);
        assert_eq!(values(secrets), ["one", "one", "one"]);
        let of = |path: &str| secrets.of(REPLICA).join(path).metadata().expect("it is there");
        for (path, mode) in [("0/signal", 0o400), ("0/deep/er/none", 0o444), ("1/restart", 0o440)] {
            let found = of(path);
            assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (mode, 1000, 2000), "{path}");
        }
        assert_eq!(of("0/deep").mode() & 0o7777, 0o755, "who is not root comes through");
        let targets: Vec<(String, bool)> =
            secrets.mounts(&assignment("")).into_iter().map(|mount| (mount.target, mount.read_only)).collect();
        assert_eq!(targets, [("/run/secrets".to_owned(), true), ("/vault".to_owned(), true)]);
        assert_eq!(secrets.found(), [REPLICA]);
        secrets.remove(REPLICA).expect("removed");
        secrets.remove(REPLICA).expect("removed twice");
        assert!(!is_mounted(&secrets.root).expect("looked at"), "nothing is left mounted");
    }

    #[tokio::test]
    async fn a_process_gets_what_may_change_under_it_and_the_signal_until_it_was_told() {
        let place = place();
        let secrets = &place.secrets;
        secrets.place(&assignment("one"), Revision(5)).await.expect("placed");
        assert_eq!(secrets.refresh(&assignment("one"), Revision(6)).await, Ok(signals(&[])));
        assert_eq!(secrets.refresh(&assignment("two"), Revision(7)).await, Ok(signals(&[1])));
        assert_eq!(values(secrets), ["two", "two", "one"]);
        // An agent that starts again finds no difference, and tells the process all the same.
        assert_eq!(secrets.refresh(&assignment("two"), Revision(7)).await, Ok(signals(&[1])));
        secrets.told(REPLICA).await.expect("noted");
        assert_eq!(secrets.refresh(&assignment("two"), Revision(7)).await, Ok(signals(&[])));
        // The next process reads everything, and is told nothing.
        assert_eq!(secrets.refresh(&assignment("three"), Revision(8)).await, Ok(signals(&[1])));
        secrets.place(&assignment("three"), Revision(8)).await.expect("placed");
        assert_eq!(values(secrets), ["three", "three", "three"]);
        assert_eq!(secrets.refresh(&assignment("three"), Revision(8)).await, Ok(signals(&[])));
    }

    #[tokio::test]
    async fn an_older_view_takes_no_value_back() {
        let place = place();
        let secrets = &place.secrets;
        secrets.place(&assignment("new"), Revision(9)).await.expect("placed");
        assert_eq!(secrets.refresh(&assignment("old"), Revision(8)).await, Ok(signals(&[])));
        secrets.place(&assignment("old"), Revision(8)).await.expect("placed");
        assert_eq!(values(secrets), ["new", "new", "new"]);
        // Without anything newer, an old value is better than none.
        secrets.remove(REPLICA).expect("removed");
        secrets.place(&assignment("old"), Revision(8)).await.expect("placed");
        assert_eq!(values(secrets), ["old", "old", "old"]);
    }

    #[tokio::test]
    async fn a_reader_sees_one_value_whole_however_often_it_changes() {
        let place = place();
        let secrets = &place.secrets;
        let long = |digit: u32| digit.to_string().repeat(60_000);
        secrets.place(&assignment(&long(0)), Revision(1)).await.expect("placed");
        let path = secrets.path(&assignment(""), &assignment("").workload.secret_files[0]).expect("a path");
        let reader = std::thread::spawn(move || {
            for _ in 0..300 {
                let text = fs::read_to_string(&path).expect("always there");
                assert!(text.len() == 60_000 && text.bytes().all(|byte| byte == text.as_bytes()[0]), "half a value");
            }
        });
        for round in 1..100_u32 {
            secrets.refresh(&assignment(&long(round % 10)), Revision(round.into())).await.expect("refreshed");
        }
        reader.join().expect("it saw no half value");
    }

    #[tokio::test]
    async fn what_did_not_come_is_named_and_files_that_are_gone_are_not_made_under_a_process() {
        let place = place();
        let mut lacking = assignment("one");
        lacking.secrets = BTreeMap::new();
        let refused = check_secrets(&lacking).expect_err("refused");
        assert_eq!(refused.reason.code, "secret_unusable");
        assert!(refused.reason.message.contains("secret signal was not sent"), "{}", refused.reason.message);
        assert_eq!(place.secrets.place(&lacking, Revision(1)).await, Err(refused.clone()));
        assert_eq!(place.secrets.refresh(&lacking, Revision(1)).await, Err(refused));
        let gone = place.secrets.refresh(&assignment("one"), Revision(1)).await.expect_err("nothing is there");
        assert_eq!(gone.reason.code, "secrets_unwritten");
        assert!(!place.secrets.root.exists());
    }
}
