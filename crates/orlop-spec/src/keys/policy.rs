//! How the cluster treats a service.

use super::{CONSTRAINT, DAY, HOST, NAME, ON_FAILURE, PORT, REQUEST_PATH, SECOND, key, later, word};
use crate::table::{Presence, Shape, Table};
use Presence::{Default, Optional, Required};
use orlop_model::check::REPLICAS_MAX;

const ROUTED: &[&str] = &["http", "https", "websocket"];

pub(crate) static ENDPOINT: Table = Table {
    name: "endpoint",
    doc: "A named port of the service.",
    tag: Some("protocol"),
    keys: &[
        key("name", Required, Shape::Text(&NAME), "Unique in the service."),
        key(
            "protocol",
            Required,
            Shape::Words(&[
                word("http", "HTTP/1.1, upgrades such as WebSocket included; routed by host and path."),
                later(
                    "https",
                    "HTTP with TLS at the proxy.",
                    "use `protocol: http` and put TLS in front until certificates arrive",
                ),
                word("tcp", "A byte stream; the node listens on the same port."),
                later("udp", "Datagrams.", "only http and tcp are carried so far"),
                later("websocket", "HTTP that is upgraded.", "use `protocol: http`, which carries WebSocket upgrades"),
            ]),
            "What is spoken.",
        ),
        key("port", Required, PORT, "The port that replicas listen on; for tcp also the node's."),
        key(
            "path",
            Default("/"),
            Shape::Text(&REQUEST_PATH),
            "Requests whose path begins with this, by whole segments: `/api` takes /api and /api/x, not /apix. The longest \
             wins.",
        )
        .when(ROUTED),
        key("host", Optional, Shape::Text(&HOST), "Requests for this host. Left out: for any that no other has.")
            .when(ROUTED),
        key(
            "expose",
            Required,
            Shape::Words(&[
                word("public", "The proxy offers it on the node's own ports."),
                later(
                    "internal",
                    "Other services reach it, the outside does not.",
                    "write `expose: public`, or leave the endpoint out: replicas reach each other by address",
                ),
            ]),
            "Who may reach it.",
        ),
    ],
};

pub(crate) static SCALE: Table = Table {
    name: "scale",
    doc: "How many replicas there are.",
    tag: Some("mode"),
    keys: &[
        key(
            "mode",
            Required,
            Shape::Words(&[
                word("fixed", "As many as `replicas` says; each deploy sets it again."),
                word("manual", "As many as `orlopctl scale` last said, one at first; a deploy keeps it."),
                later(
                    "adaptive",
                    "As many as the load needs.",
                    "use `mode: fixed` with `replicas`, or `mode: manual` and `orlopctl scale`",
                ),
            ]),
            "Who decides.",
        ),
        key("replicas", Required, Shape::Int { min: 0, max: REPLICAS_MAX as u64 }, "How many.").when(&["fixed"]),
        key("min", Required, Shape::Int { min: 1, max: REPLICAS_MAX as u64 }, "At least this many.")
            .when(&["adaptive"]),
        key("max", Required, Shape::Int { min: 1, max: REPLICAS_MAX as u64 }, "At most this many; not below `min`.")
            .when(&["adaptive"]),
        key("cooldown", Default("30s"), Shape::Duration { min: 0, max: DAY }, "The least time between two changes.")
            .when(&["adaptive"]),
        key("targets", Required, Shape::Object(&TARGETS), "The load to aim at; at least one.").when(&["adaptive"]),
    ],
};

pub(crate) static TARGETS: Table = Table {
    name: "targets",
    doc: "The load per replica that an adaptive scale aims at.",
    tag: None,
    keys: &[
        key("cpu", Optional, Shape::Int { min: 1, max: 100 }, "Per cent of the reserved cpu."),
        key("memory", Optional, Shape::Int { min: 1, max: 100 }, "Per cent of the reserved memory."),
        key("rps", Optional, Shape::Int { min: 1, max: 1_000_000 }, "Requests per second."),
    ],
};

pub(crate) static DEPENDENCY: Table = Table {
    name: "depends",
    doc: "Another service that must be up first.",
    tag: None,
    keys: &[
        key("service", Required, Shape::Text(&NAME), "A service of the same file."),
        key(
            "condition",
            Default("started"),
            Shape::Words(&[
                word("started", "One replica's process runs."),
                word("healthy", "One replica is ready: running, and healthy if it has a check."),
                word("ready", "All wanted replicas are ready, at their current generation."),
            ]),
            "How far up it must be.",
        ),
        key(
            "timeout",
            Optional,
            Shape::Duration { min: 1, max: 7 * DAY },
            "How long to wait, from the deploy on. Left out: for ever.",
        ),
        key("on_timeout", Default("fail"), ON_FAILURE, "What then. Only together with `timeout`."),
    ],
};

pub(crate) static NETWORK: Table = Table {
    name: "network",
    doc: "Which networks replicas are part of. So far all replicas of a node share one bridge.",
    tag: None,
    keys: &[key("overlays", Optional, Shape::Object(&OVERLAYS), "The overlays.")],
};

pub(crate) static OVERLAYS: Table = Table {
    name: "overlays",
    doc: "The overlay networks.",
    tag: None,
    keys: &[
        key("service", Optional, Shape::Object(&SERVICE_OVERLAY), "The deployment's own network."),
        key("global", Optional, Shape::Object(&GLOBAL_OVERLAY), "The network that all deployments may join."),
    ],
};

pub(crate) static SERVICE_OVERLAY: Table = Table {
    name: "service_overlay",
    doc: "The deployment's own network.",
    tag: None,
    keys: &[
        key(
            "enabled",
            Default("true"),
            Shape::Bool { only: Some((true, "every replica is on its node's network; leave the key out")) },
            "Whether replicas are part of it.",
        ),
        key(
            "encrypted",
            Default("false"),
            Shape::Bool { only: Some((false, "traffic stays on the node; leave the key out until WireGuard arrives")) },
            "Whether traffic between nodes is encrypted.",
        ),
        key(
            "isolated",
            Default("false"),
            Shape::Bool { only: Some((false, "deployments on a node reach each other; leave the key out")) },
            "Whether only the same deployment's replicas are admitted.",
        ),
    ],
};

pub(crate) static GLOBAL_OVERLAY: Table = Table {
    name: "global_overlay",
    doc: "The network that all deployments may join.",
    tag: None,
    keys: &[key(
        "enabled",
        Default("false"),
        Shape::Bool { only: Some((false, "there is no such network yet; leave the key out")) },
        "Whether replicas are part of it.",
    )],
};

pub(crate) static UPDATE: Table = Table {
    name: "update",
    doc: "How replicas of an older generation are replaced.",
    tag: None,
    keys: &[
        key(
            "strategy",
            Default("rolling"),
            Shape::Words(&[
                word("rolling", "Some new replicas are started, and as they become ready, old ones are stopped."),
                later(
                    "recreate",
                    "All old replicas are stopped first.",
                    "use `strategy: rolling` with `max_surge: 0` and a `max_unavailable` of all replicas",
                ),
                later("blue_green", "All new replicas are started first.", "use `strategy: rolling`"),
                later("canary", "A few new replicas are tried first.", "use `strategy: rolling`"),
            ]),
            "The way.",
        ),
        key(
            "max_surge",
            Default("1"),
            Shape::Int { min: 0, max: REPLICAS_MAX as u64 },
            "How many replicas there may be above the wanted number.",
        ),
        key(
            "max_unavailable",
            Default("0"),
            Shape::Int { min: 0, max: REPLICAS_MAX as u64 },
            "How many of the wanted number may be missing. Not both this and `max_surge` are 0.",
        ),
        key(
            "min_healthy",
            Default("0s"),
            Shape::Duration { min: 0, max: DAY },
            "How long a new replica must have been ready before an old one goes.",
        ),
        key(
            "auto_revert",
            Default("false"),
            Shape::Bool { only: Some((false, "deploy the older file again to go back")) },
            "Whether a failed update goes back by itself.",
        ),
    ],
};

pub(crate) static PLACEMENT: Table = Table {
    name: "placement",
    doc: "On which nodes replicas may be.",
    tag: None,
    keys: &[
        key(
            "constraints",
            Optional,
            Shape::List { item: &Shape::Text(&CONSTRAINT), min: 0, max: 100 },
            "Conditions on the node; all must hold. A label that a node lacks equals nothing.",
        ),
        key(
            "spread",
            Default("node"),
            Shape::Words(&[
                word("node", "Over the nodes, evenly."),
                later("zone", "Over the zones, evenly.", "replicas are spread over nodes: `spread: node`"),
            ]),
            "Over what replicas are spread.",
        ),
    ],
};

const RUN_RETRIES: Shape = Shape::Int { min: 0, max: 1000 };
const RUN_TIMEOUT: Shape = Shape::Duration { min: SECOND, max: 30 * DAY };

pub(crate) static JOB: Table = Table {
    name: "job",
    doc: "How runs of a job are made.",
    tag: None,
    keys: &[
        key("timeout", Optional, RUN_TIMEOUT, "How long a run may take. Left out: for ever."),
        key("retries", Default("0"), RUN_RETRIES, "How often a failed run is tried again."),
    ],
};

pub(crate) static CRON_JOB: Table = Table {
    name: "cron_job",
    doc: "How runs of a cron service are made.",
    tag: None,
    keys: &[
        key("timeout", Optional, RUN_TIMEOUT, "How long a run may take. Left out: for ever."),
        key("retries", Default("0"), RUN_RETRIES, "How often a failed run is tried again."),
        key(
            "overlap",
            Default("forbid"),
            Shape::Words(&[
                word("forbid", "A tick during a run is skipped."),
                word("allow", "Runs go side by side."),
                word("replace", "The older run is stopped."),
            ]),
            "What a tick does while a run is under way.",
        ),
        key(
            "missed",
            Default("latest"),
            Shape::Words(&[
                word("none", "They are skipped."),
                word("latest", "The last one is made up for."),
                word("all", "All are made up for."),
            ]),
            "What becomes of ticks that passed while nothing could run.",
        ),
    ],
};
