//! The command line.

pub(crate) mod trust;
pub(crate) mod work;

use crate::dev::DevArgs;
use clap::{Args, Parser, Subcommand, ValueEnum};
use orlop_client::Address;
use orlop_model::{Millis, Timestamp};
use std::path::PathBuf;
use trust::{AuditArgs, ContextCommand, LoginArgs, OperatorCommand, RevokeArgs, SecretCommand, TokenCommand};
use work::{EngineCommand, QueueCommand, TaskCommand, WorkerCommand, WorkflowCommand};

/// Runs applications on your own machines.
#[derive(Debug, Parser)]
#[command(name = "orlopctl", version, disable_help_subcommand = true)]
#[command(after_help = "Services are named deployment/service, replicas deployment/service/slot or by id (rep_…).\n\
                        Exit codes: orlopctl help exit-codes")]
pub(crate) struct Cli {
    /// Where the control plane listens: unix:/path, https://HOST[:PORT] or http://127.0.0.1:PORT [default: that of the
    /// context, or unix:/run/orlop/control.sock].
    #[arg(long, global = true, env = "ORLOP_ADDRESS")]
    pub(crate) address: Option<Address>,
    /// Which of the contexts that `orlopctl login` made [default: the current one].
    #[arg(long, global = true, env = "ORLOP_CONTEXT", value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// How to print the answer; the fields of json and yaml are stable.
    #[arg(short, long, global = true, value_enum, default_value = "table", value_name = "FORMAT")]
    pub(crate) output: Format,
    #[command(subcommand)]
    pub(crate) program: Program,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For both.
    Yaml,
}

/// What this process becomes.
#[derive(Debug, Subcommand)]
pub(crate) enum Program {
    /// An operator who says something to a cluster.
    #[command(flatten)]
    Operator(Command),
    /// Run a whole cluster of one node on this machine, in one process.
    Dev(DevArgs),
    /// About engines, which keep tasks and workflows.
    #[command(subcommand)]
    Engine(EngineCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a deployment what a spec file says.
    Deploy(DeployArgs),
    /// Show what a deploy would change, and what the scheduler would do at once, without doing it.
    Plan(FileArgs),
    /// Check a spec file: everything that is wrong with it, with line and column.
    Validate(FileArgs),
    /// About the format of spec files.
    #[command(subcommand)]
    Spec(SpecCommand),
    /// Show services and replicas.
    Status(StatusArgs),
    /// Show replicas.
    Ps(StatusArgs),
    /// Show everything that is known of a deployment, a service, a replica or a node.
    Describe {
        /// deployment, deployment/service, deployment/service/slot, rep_…, or a node's name.
        name: String,
    },
    /// Say in plain words why a deployment, a service or a replica is as it is.
    Why {
        /// deployment, deployment/service, deployment/service/slot or rep_….
        name: String,
    },
    /// Print the lines of a service's logs, merged over its replicas by time.
    Logs(LogsArgs),
    /// Run a command in a replica; ends with the command's exit code.
    Exec(ExecArgs),
    /// Set how many replicas a service has.
    Scale(ScaleArgs),
    /// End a deployment, or one service of it.
    Stop(StopArgs),
    /// Show what happened.
    Events(EventsArgs),
    /// About the machines.
    #[command(subcommand)]
    Node(NodeCommand),
    /// About images.
    #[command(subcommand)]
    Image(ImageCommand),
    /// About the cluster itself: its members, its health, its backups.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Let this machine join a cluster, as a node, a member of the control plane, or both; needs nothing but a token.
    Join(JoinArgs),
    /// About tokens that let machines join.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Refuse the certificates that a node, a member or a program has now; it joins again with a new token.
    Revoke(RevokeArgs),
    /// About people and their tools, and what they may do.
    #[command(subcommand)]
    Operator(OperatorCommand),
    /// About secrets.
    #[command(subcommand)]
    Secret(SecretCommand),
    /// About workflows: durable functions whose every step is recorded.
    #[command(subcommand)]
    Workflow(WorkflowCommand),
    /// About tasks: calls of functions through queues.
    #[command(subcommand)]
    Task(TaskCommand),
    /// About the queues that tasks wait in.
    #[command(subcommand)]
    Queue(QueueCommand),
    /// About the processes that run tasks and workflows.
    #[command(subcommand)]
    Worker(WorkerCommand),
    /// Show who changed what.
    Audit(AuditArgs),
    /// Log in to a cluster, with a token that an admin made with `orlopctl operator token`.
    Login(LoginArgs),
    /// About the clusters that you have logged in to.
    #[command(subcommand)]
    Context(ContextCommand),
    /// Say who the cluster takes you for.
    Whoami,
    /// Print a script that completes orlopctl's commands in a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Explain a command, or the exit codes: help exit-codes.
    Help {
        /// A command, or `exit-codes`.
        topic: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SpecCommand {
    /// Print the JSON Schema of spec files, for editors.
    Schema,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// List the nodes.
    Ls,
    /// Place no new replicas on a node; those that it has stay.
    Cordon {
        /// The node's name or id.
        node: String,
    },
    /// Place no new replicas on a node, and move those that it has away, as an update replaces them. Named volumes stay there.
    Drain {
        /// The node's name or id.
        node: String,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Let a node have replicas again.
    Uncordon {
        /// The node's name or id.
        node: String,
    },
    /// Forget a node that is gone for good; refused while it is alive or may have replicas.
    Rm {
        /// The node's name or id.
        node: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Send an OCI archive to the nodes.
    Import(ImportArgs),
    /// List the images of the nodes.
    Ls,
    /// Remove images from the nodes; refused while a service uses one of them.
    Rm(RemoveArgs),
    /// Remove all images that no service names and no replica runs.
    Prune(PruneArgs),
    /// Make an OCI archive of files, such as one static program; needs no cluster.
    Pack(PackArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show whether the control plane takes writes, who leads, and how the members stand.
    Status,
    /// List the members.
    Members,
    /// Make a cluster of several hosts on this machine, each in a network namespace; takes root.
    Up(crate::hosts::UpArgs),
    /// Take the hosts of `cluster up` away, with all that runs on them.
    Down {
        #[command(flatten)]
        hosts: crate::hosts::HostsArgs,
        /// Leave the data of the hosts, logs among it.
        #[arg(long)]
        keep_data: bool,
    },
    /// Take a member's vote and its certificates, for good.
    Remove {
        /// The member's number or name.
        member: String,
    },
    /// Hand leadership over.
    TransferLeader {
        /// The number or the name of the member that is to lead; without: the one that suits best.
        member: Option<String>,
    },
    /// Look for what is wrong, or will be: clocks, disks, certificates, versions, members.
    Doctor,
    /// Let this machine's member go on alone, when the others are lost for good and no majority is left.
    Recover {
        #[command(flatten)]
        member: LocalMember,
        /// Do it; without, only what would be done and lost is said.
        #[arg(long)]
        yes: bool,
    },
    /// Save the state to a file, look into one, or begin a new cluster from one.
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Save the cluster's state to a file.
    Save {
        /// Where; it must not be there yet.
        file: PathBuf,
    },
    /// Read a file that was saved, and say what it is of; finds any damage. Needs no cluster.
    Inspect {
        /// The file.
        file: PathBuf,
    },
    /// Make a new cluster from a file, with this machine as its only member. The members of before must be gone for good.
    Restore {
        /// The file.
        file: PathBuf,
        /// The cluster's key: cluster.key in the data directory of any of its members.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        #[command(flatten)]
        member: LocalMember,
    },
}

/// A control plane of this machine that does not run.
#[derive(Debug, Args)]
pub(crate) struct LocalMember {
    /// The data directory of this machine's control plane, which must not run.
    #[arg(long, default_value = "/var/lib/orlop/control-plane", value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// Where other machines will reach it [default: as before].
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) advertise: Option<orlop_client::HostPort>,
}

#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    /// A member of the control plane: https://HOST[:PORT]; several with commas.
    pub(crate) control_plane: Address,
    /// A token that `orlop-control-plane init` or `orlopctl token create` printed; two to join as a member and as a node.
    #[arg(long, required = true, num_args = 1, value_name = "TOKEN", env = "ORLOP_JOIN_TOKEN", hide_env_values = true)]
    pub(crate) token: Vec<String>,
    /// Where the others reach this machine, for a member [default: the address that the way to the control plane begins at].
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) advertise: Option<orlop_client::HostPort>,
    /// What the member is called [default: the machine's host name].
    #[arg(long)]
    pub(crate) name: Option<orlop_model::NodeName>,
    /// Where the node's identity is to lie.
    #[arg(long, default_value = orlop_client::IDENTITY_DEFAULT, value_name = "DIR")]
    pub(crate) identity: PathBuf,
    /// The data directory of this machine's control plane.
    #[arg(long, default_value = "/var/lib/orlop/control-plane", value_name = "DIR")]
    pub(crate) control_plane_data_dir: PathBuf,
    /// The data directory of this machine's agent, which may have an id already.
    #[arg(long, default_value = "/var/lib/orlop/agent", value_name = "DIR")]
    pub(crate) agent_data_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// The spec file; - for standard input.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// Wait until it is done, and say how far it is; fail at once when it cannot be done.
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait: 90s, 5m, 1h.
    #[arg(long, value_parser = span, default_value = "5m", requires = "wait", value_name = "SPAN")]
    pub(crate) timeout: Millis,
}

#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    #[command(flatten)]
    pub(crate) file: FileArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    /// Show what would be done, like `plan`, and do nothing.
    #[arg(long, conflicts_with = "wait")]
    pub(crate) dry_run: bool,
    /// Deploy only if the deployment's generation is this one (0: only if it does not exist); `plan` shows it. Without:
    /// the one that it has when the command begins.
    #[arg(long, value_name = "N")]
    pub(crate) expect_generation: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Only this deployment.
    pub(crate) deployment: Option<String>,
    /// Go on showing it as it changes.
    #[arg(short, long)]
    pub(crate) watch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// deployment/service, deployment/service/slot or rep_….
    pub(crate) name: String,
    /// Go on with what is written later.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only lines written since: 5m ago, or 2026-11-21T08:00:00Z.
    #[arg(long, value_name = "SPAN|TIME")]
    pub(crate) since: Option<Since>,
    /// Only the last so many of those lines.
    #[arg(long, value_name = "N")]
    pub(crate) tail: Option<u32>,
    /// Only this replica: its slot or its id (that of a replica that is gone, too).
    #[arg(long, value_name = "SLOT|ID")]
    pub(crate) replica: Option<String>,
    /// Begin each line with its time.
    #[arg(short, long)]
    pub(crate) timestamps: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// Hand this terminal's or pipe's input to the command.
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the command a terminal.
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// A replica (deployment/service/slot, rep_…), or a service: its first replica that is ready.
    pub(crate) name: String,
    /// The program and its arguments, after --.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// deployment/service.
    pub(crate) service: String,
    /// How many replicas.
    #[arg(value_parser = clap::value_parser!(u32).range(0..=orlop_model::check::REPLICAS_MAX as i64))]
    pub(crate) replicas: u32,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// deployment or deployment/service.
    pub(crate) name: String,
    /// By SIGKILL at once, without the grace period.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Only of this deployment.
    pub(crate) deployment: Option<String>,
    /// Go on with what happens later.
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// At most so many of the newest.
    #[arg(long, default_value = "100", value_parser = clap::value_parser!(u32).range(1..=10_000), value_name = "N")]
    pub(crate) limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// An OCI archive (a tar, as docker, podman, skopeo and `orlopctl image pack` write it); - for standard input.
    pub(crate) file: PathBuf,
    /// Names the image where the archive does not.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Only to this node; may be given more than once. Without: to all.
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// As `image ls` shows them: registry.example/shop/api:1.4.
    #[arg(required = true)]
    pub(crate) name: Vec<String>,
    #[command(flatten)]
    pub(crate) on: PruneArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Only from this node; may be given more than once. Without: from all.
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PackArgs {
    /// The image's name, with host, repository and tag: localhost/hello:1.
    #[arg(long)]
    pub(crate) name: String,
    /// A file or directory and where it goes in the image; may be given more than once.
    #[arg(long, required = true, value_name = "SOURCE:TARGET[:MODE]")]
    pub(crate) file: Vec<String>,
    /// The program, and with further ones its first arguments.
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    pub(crate) entrypoint: Vec<String>,
    /// Arguments that a deployment may replace.
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    pub(crate) cmd: Vec<String>,
    /// A variable.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Where the program starts.
    #[arg(long, value_name = "PATH")]
    pub(crate) working_dir: Option<String>,
    /// Whom the program runs as.
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// A label.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<String>,
    /// The signal that asks the program to end.
    #[arg(long, value_name = "SIGNAL")]
    pub(crate) stop_signal: Option<String>,
    /// Where the archive is written; - for standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

/// Since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// So long ago.
    Ago(Millis),
    /// At this time.
    At(Timestamp),
}

impl Since {
    /// The time meant.
    pub(crate) fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Since::Ago(ago) => Timestamp(now.0.saturating_sub(ago.0)),
            Since::At(at) => at,
        }
    }
}

impl std::str::FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ago) = span(text) {
            return Ok(Since::Ago(ago));
        }
        let at: jiff::Timestamp =
            text.parse().map_err(|_| format!("{text:?} is neither a span (5m) nor a time (2026-11-21T08:00:00Z)"))?;
        Ok(Since::At(Timestamp(u64::try_from(at.as_millisecond()).unwrap_or(0))))
    }
}

/// Reads `850ms`, `90s`, `5m`, `2h`, `1d`.
pub(crate) fn span(text: &str) -> Result<Millis, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("{text:?} is no span of time: write 850ms, 90s, 5m, 2h or 1d")),
    };
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is no span of time: write 90s, 5m, 2h or 1d"))?;
    number
        .checked_mul(factor)
        .filter(|millis| *millis <= orlop_model::limit::SPAN_MAX.0)
        .map(Millis)
        .ok_or_else(|| format!("{text:?} is longer than anybody waits"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn spans_and_times_are_read() {
        assert_eq!(span("90s"), Ok(Millis(90_000)));
        assert_eq!(span("2h"), Ok(Millis(7_200_000)));
        for bad in ["", "5", "m", "-5m", "5 m", "1.5h", "99999999999999999999s", "999999999d"] {
            assert!(span(bad).is_err(), "{bad}");
        }
        assert_eq!("5m".parse::<Since>().map(|s| s.at(Timestamp(1_000_000))), Ok(Timestamp(700_000)));
        assert_eq!("1970-01-01T00:01:00Z".parse(), Ok(Since::At(Timestamp(60_000))));
        assert!("yesterday".parse::<Since>().is_err());
    }
}
