//! What a node runs for each replica.

use super::{
    ARGUMENT, CHANGE_SIGNAL, DAY, HOUR, IMAGE_NAME, NAME, ON_FAILURE, PATH, PORT, SECRET_MODE, SECRET_NAME,
    SECRET_PATH, STATUS, TARGET_HOST, URL, key, word,
};
use crate::table::{Presence, Shape, Table};
use Presence::{Default, Optional, Required};

pub(crate) static IMAGE: Table = Table {
    name: "image",
    doc: "The image that replicas are made of.",
    tag: None,
    keys: &[
        key(
            "name",
            Required,
            Shape::Text(&IMAGE_NAME),
            "HOST[:PORT]/REPOSITORY:TAG, or @sha256:… in place of the tag or after it. The host has a dot or a port or is \
             localhost: `registry.example/shop/api:1.4`, `localhost:5000/x:1`. No host and no tag are assumed: a name \
             means the same on each node and on each day.",
        ),
        key(
            "pull_policy",
            Default("if_not_present"),
            Shape::Words(&[
                word("always", "Before each start of a replica."),
                word("if_not_present", "When the node does not have the image."),
                word("never", "Not at all: the image must have been imported."),
            ]),
            "When a node asks the registry.",
        ),
    ],
};

pub(crate) static RESOURCES: Table = Table {
    name: "resources",
    doc: "Reserved when a replica is placed, and enforced on the node. Where its kernel has no means to, a warning (`limit_not_enforced`) tells at each start.",
    tag: None,
    keys: &[
        key(
            "cpu",
            Optional,
            Shape::Cpu { min: 10, max: 1_024_000 },
            "Cores, also the ceiling of the processor time. Left out: nothing is reserved and nothing limited.",
        ),
        key(
            "memory",
            Optional,
            Shape::Size { min: 6 << 20, max: 64 << 40 },
            "Bytes, also the ceiling: past it the kernel kills the process. Left out: nothing is reserved and nothing \
             limited.",
        ),
    ],
};

pub(crate) static HEALTH: Table = Table {
    name: "health",
    doc: "A check that each replica is put to, from inside its own network.",
    tag: None,
    keys: &[
        key(
            "start_grace",
            Default("5s"),
            Shape::Duration { min: 0, max: HOUR },
            "Failures within this time after a start do not count.",
        ),
        key(
            "interval",
            Default("10s"),
            Shape::Duration { min: 100, max: HOUR },
            "From the end of one check to the start of the next.",
        ),
        key("timeout", Default("5s"), Shape::Duration { min: 1, max: HOUR }, "A check that takes longer has failed."),
        key(
            "retries",
            Default("3"),
            Shape::Int { min: 1, max: 1000 },
            "So many failures in a row make a replica unhealthy: it is stopped, and `errors.on_panic` applies.",
        ),
        key("check", Required, Shape::Object(&CHECK), "What is done."),
    ],
};

const COMMAND: Shape = Shape::List { item: &Shape::Text(&ARGUMENT), min: 1, max: 1000 };

pub(crate) static CHECK: Table = Table {
    name: "check",
    doc: "One check.",
    tag: Some("type"),
    keys: &[
        key(
            "type",
            Required,
            Shape::Words(&[
                word("http", "A GET that answers with a status."),
                word("tcp", "A connection that opens."),
                word("command", "A command in the container that ends with 0."),
            ]),
            "The kind of check.",
        ),
        key("url", Required, Shape::Text(&URL), "What is asked for; `localhost` is the replica.").when(&["http"]),
        key("expect_status", Default("200"), STATUS, "The status that counts as well.").when(&["http"]),
        key("port", Required, PORT, "The port, at the replica.").when(&["tcp"]),
        key("command", Required, COMMAND, "Program and arguments; not run through a shell.").when(&["command"]),
    ],
};

pub(crate) static INIT: Table = Table {
    name: "init",
    doc: "What must succeed before a replica is first started.",
    tag: None,
    keys: &[key(
        "steps",
        Required,
        Shape::List { item: &Shape::Object(&STEP), min: 1, max: 100 },
        "The steps, one after the other.",
    )],
};

pub(crate) static STEP: Table = Table {
    name: "step",
    doc: "One step of init.",
    tag: Some("uses"),
    keys: &[
        key("id", Required, Shape::Text(&NAME), "Unique in the service."),
        key(
            "uses",
            Required,
            Shape::Words(&[
                word("init.wait_tcp", "Waits until a connection opens."),
                word("init.wait_http", "Waits until a GET answers with a status."),
                word(
                    "init.run",
                    "Runs a command to its end, in a container of the same image, environment, network and volumes.",
                ),
            ]),
            "What is done.",
        ),
        key("with", Required, Shape::Object(&WAIT_TCP), "Where to connect.").when(&["init.wait_tcp"]),
        key("with", Required, Shape::Object(&WAIT_HTTP), "What to ask for.").when(&["init.wait_http"]),
        key("with", Required, Shape::Object(&RUN), "What to run.").when(&["init.run"]),
        key(
            "timeout",
            Default("60s"),
            Shape::Duration { min: 1, max: DAY },
            "How long the whole step may take, its own retries included.",
        ),
        key(
            "retries",
            Default("0"),
            Shape::Int { min: 0, max: 1000 },
            "How often a failed command is run again; the waiting steps try until their timeout.",
        )
        .when(&["init.run"]),
        key("on_failure", Default("fail"), ON_FAILURE, "What a failed step means."),
    ],
};

pub(crate) static WAIT_TCP: Table = Table {
    name: "wait_tcp",
    doc: "Where `init.wait_tcp` connects to, from inside the replica's network.",
    tag: None,
    keys: &[
        key(
            "host",
            Required,
            Shape::Text(&TARGET_HOST),
            "A name or address. Names below .internal are not supported yet.",
        ),
        key("port", Required, PORT, "The port."),
    ],
};

pub(crate) static WAIT_HTTP: Table = Table {
    name: "wait_http",
    doc: "What `init.wait_http` asks for, from inside the replica's network.",
    tag: None,
    keys: &[
        key("url", Required, Shape::Text(&URL), "What is asked for. Hosts below .internal are not supported yet."),
        key("expect_status", Default("200"), STATUS, "The status that is waited for."),
    ],
};

pub(crate) static RUN: Table = Table {
    name: "run",
    doc: "What `init.run` runs.",
    tag: None,
    keys: &[key("command", Required, COMMAND, "Program and arguments; not run through a shell.")],
};

pub(crate) static ERRORS: Table = Table {
    name: "errors",
    doc: "What to do about failures.",
    tag: None,
    keys: &[
        key("on_init_failure", Optional, Shape::Object(&ON_INIT_FAILURE), "When init has failed."),
        key(
            "on_panic",
            Optional,
            Shape::Object(&ON_PANIC),
            "When a replica's process ends by itself, with whatever code, or stays unhealthy.",
        ),
    ],
};

pub(crate) static ON_INIT_FAILURE: Table = Table {
    name: "on_init_failure",
    doc: "What to do when init has failed.",
    tag: None,
    keys: &[key(
        "action",
        Default("backoff"),
        Shape::Words(&[
            word("fail", "Give the replica up."),
            word("restart", "Try again at once."),
            word("backoff", "Try again after an exponentially growing time."),
        ]),
        "What to do.",
    )],
};

pub(crate) static ON_PANIC: Table = Table {
    name: "on_panic",
    doc: "What to do when a replica's process ends by itself, or stays unhealthy.",
    tag: None,
    keys: &[key(
        "action",
        Default("restart"),
        Shape::Words(&[
            word("restart", "Start it again after an exponentially growing time, forgotten after a calm while."),
            word("shutdown", "Give the replica up."),
            word("isolate", "Give the replica up, but keep its files, logs and network for a look."),
        ]),
        "What to do.",
    )],
};

pub(crate) static VOLUME: Table = Table {
    name: "volume",
    doc: "Something mounted into each replica.",
    tag: Some("type"),
    keys: &[
        key(
            "type",
            Required,
            Shape::Words(&[
                word("named", "A directory that the node keeps for the deployment; made on first use, never removed."),
                word("bind", "A path of the node, which must exist."),
                word("tmpfs", "Memory, gone with the container."),
            ]),
            "What is mounted.",
        ),
        key("name", Required, Shape::Text(&NAME), "The volume's name; services of the deployment share it by name.")
            .when(&["named"]),
        key("source", Required, Shape::Text(&PATH), "The path on the node.").when(&["bind"]),
        key(
            "size",
            Optional,
            Shape::Size { min: 4096, max: 64 << 40 },
            "Its ceiling. Left out: half of the node's memory.",
        )
        .when(&["tmpfs"]),
        key(
            "target",
            Required,
            Shape::Text(&PATH),
            "Where in the container; unique in the service. Not /, /dev, or below /proc and /sys.",
        ),
        key("read_only", Default("false"), Shape::Bool { only: None }, "Whether the container may only read.")
            .when(&["named", "bind"]),
    ],
};

/// The highest number is no id: to chown(2) it means that nothing changes.
const ID: Shape = Shape::Int { min: 0, max: u32::MAX as u64 - 1 };

pub(crate) static SECRET_FILE: Table = Table {
    name: "secret",
    doc: "A secret of the cluster as a file, which is in memory and on no disk. It is there before the first program of the replica \
          begins, init steps included, and gone with the replica.",
    tag: Some("on_change"),
    keys: &[
        key(
            "name",
            Required,
            Shape::Text(&SECRET_NAME),
            "Which secret. It must be there when the service is deployed. Its value, at most 64 KiB, is in the file as it was set.",
        ),
        key(
            "path",
            Optional,
            Shape::Text(&SECRET_PATH),
            "Where in the container; unique in the service. The directory is mounted as a whole and read-only: it holds \
             secrets and nothing else, not even what the image has there. So it is not / or /etc, nor in /dev, /proc or /sys; no \
             volume is mounted at it or in it, and of those that it may be in, only a tmpfs. Left out: /run/secrets/NAME.",
        ),
        key(
            "mode",
            Default("0444"),
            Shape::Text(&SECRET_MODE),
            "Who may read the file: its owner, its group, all others. Nobody can write it.",
        ),
        key("uid", Default("0"), ID, "Its owner, as a number."),
        key("gid", Default("0"), ID, "Its group, as a number."),
        key(
            "on_change",
            Default("restart"),
            Shape::Words(&[
                word("restart", "The replicas are replaced, as `update` says; a process keeps the value that it was started with."),
                word(
                    "signal",
                    "The file gets the value, and then the process that runs in the container gets `signal`, as soon as \
                     it is ready.",
                ),
                word("none", "The file gets the value, and nobody is told."),
            ]),
            "What a new value means. A secret that is also in `env`, or in another file with `restart`, always replaces \
             the replicas. A file that changes does so in one step: whoever opens it reads the old value or the new one.",
        ),
        key(
            "signal",
            Required,
            Shape::Text(&CHANGE_SIGNAL),
            "The signal. It may come more than once for one value. A process that has no handler for it does not notice.",
        )
        .when(&["signal"]),
    ],
};
