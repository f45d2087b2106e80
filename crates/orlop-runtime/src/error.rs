//! What can go wrong with containers, by what a caller may do about it.

use std::fmt;

/// Why a call of a [`ContainerRuntime`](crate::ContainerRuntime) failed. The message is a whole sentence for an
/// operator: what is, not what to do, which `orlopctl why` adds by the [code](RuntimeError::code).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// The registry, or the node under `pull_policy: never`, does not have the image.
    #[error("image {image} was not found: {detail}")]
    ImageNotFound {
        /// The image's name as asked for.
        image: String,
        /// Who said so, and what to do.
        detail: String,
    },
    /// The registry wants other credentials.
    #[error("image {image} was refused: {detail}")]
    ImageUnauthorized {
        /// The image's name as asked for.
        image: String,
        /// What the registry said, and where credentials are read from.
        detail: String,
    },
    /// What was received cannot be used: a wrong digest, an unknown media type, no variant for this machine.
    #[error("image {image} cannot be used: {detail}")]
    ImageInvalid {
        /// The image's name as asked for, or the archive's.
        image: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The registry cannot be reached or answers with a fault of its own, after the retries of one pull.
    #[error("image {image} could not be fetched: {detail}")]
    ImageUnavailable {
        /// The image's name as asked for.
        image: String,
        /// The last failure.
        detail: String,
    },
    /// Neither the image nor the spec say what to run.
    #[error("image {image} has neither ENTRYPOINT nor CMD, and the service has no command")]
    NoCommand {
        /// The image.
        image: String,
    },
    /// The program does not exist in the image.
    #[error("command {command:?} was not found in the image: {detail}")]
    CommandNotFound {
        /// The program.
        command: String,
        /// What the runtime said.
        detail: String,
    },
    /// The user or group is not in the image's `/etc/passwd` or `/etc/group`.
    #[error("unknown user {user:?}: {detail}")]
    UnknownUser {
        /// As asked for.
        user: String,
        /// What was looked for, and where.
        detail: String,
    },
    /// The program may not be executed, or a file may not be used.
    #[error("{detail}")]
    PermissionDenied {
        /// What, and by whom.
        detail: String,
    },
    /// A mount's source does not exist, or something else that the spec names is not there on this node.
    #[error("volume {target} cannot be mounted: {detail}")]
    MountInvalid {
        /// The path in the container.
        target: String,
        /// What is wrong.
        detail: String,
    },
    /// The working directory is not one.
    #[error("the working directory {path} cannot be used: {detail}")]
    WorkingDirInvalid {
        /// The path in the container.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// The node's disk is full.
    #[error("the node's disk is full: {detail}")]
    DiskFull {
        /// What could not be written.
        detail: String,
    },
    /// containerd does not answer. Nothing is known of what was asked; ask again.
    #[error("containerd does not answer at {socket}: {detail}")]
    Unavailable {
        /// The socket.
        socket: String,
        /// The failure.
        detail: String,
    },
    /// There is no container, process or task of that id.
    #[error("{what} does not exist")]
    NotFound {
        /// The thing.
        what: String,
    },
    /// The container runs, and what was asked is possible only when it does not (or the other way round).
    #[error("container {id} is {found}: {asked} is not possible")]
    WrongState {
        /// The container.
        id: String,
        /// The state it is in.
        found: &'static str,
        /// What was asked.
        asked: &'static str,
    },
    /// Anything else.
    #[error("{doing} failed: {detail}")]
    Other {
        /// The step that failed.
        doing: String,
        /// Why.
        detail: String,
    },
}

impl RuntimeError {
    /// A stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            RuntimeError::ImageNotFound { .. } => "image_not_found",
            RuntimeError::ImageUnauthorized { .. } => "image_unauthorized",
            RuntimeError::ImageInvalid { .. } => "image_invalid",
            RuntimeError::ImageUnavailable { .. } => "image_unavailable",
            RuntimeError::NoCommand { .. } => "no_command",
            RuntimeError::CommandNotFound { .. } => "command_not_found",
            RuntimeError::UnknownUser { .. } => "unknown_user",
            RuntimeError::PermissionDenied { .. } => "permission_denied",
            RuntimeError::MountInvalid { .. } => "mount_invalid",
            RuntimeError::WorkingDirInvalid { .. } => "working_dir_invalid",
            RuntimeError::DiskFull { .. } => "disk_full",
            RuntimeError::Unavailable { .. } => "runtime_unavailable",
            RuntimeError::NotFound { .. } => "container_not_found",
            RuntimeError::WrongState { .. } => "container_wrong_state",
            RuntimeError::Other { .. } => "runtime_failed",
        }
    }

    /// Will the same call fail again until the spec or the image changes? Everything else may be tried again.
    pub fn is_permanent(&self) -> bool {
        matches!(
            self,
            RuntimeError::ImageInvalid { .. }
                | RuntimeError::NoCommand { .. }
                | RuntimeError::CommandNotFound { .. }
                | RuntimeError::UnknownUser { .. }
                | RuntimeError::PermissionDenied { .. }
                | RuntimeError::WorkingDirInvalid { .. }
        )
    }

    /// Wraps a failure for which there is nothing better to say than which step it was.
    pub fn other(doing: impl Into<String>, detail: impl fmt::Display) -> Self {
        RuntimeError::Other { doing: doing.into(), detail: detail.to_string() }
    }
}
