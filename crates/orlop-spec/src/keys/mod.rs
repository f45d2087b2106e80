//! The V1 format: every key, in the order in which people write them.

mod policy;
mod texts;
mod workload;

pub(crate) use policy::*;
pub(crate) use texts::*;
pub(crate) use workload::*;

use crate::table::{Key, Presence, Shape, Table, Word};
use Presence::{Default, Optional, Required};
use orlop_model::check::SERVICES_MAX;
use orlop_model::limit::SECRET_FILES_MAX;

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

const fn word(text: &'static str, doc: &'static str) -> Word {
    Word { text, doc, not_yet: None }
}

const fn later(text: &'static str, doc: &'static str, remedy: &'static str) -> Word {
    Word { text, doc, not_yet: Some(remedy) }
}

const fn key(name: &'static str, presence: Presence, shape: Shape, doc: &'static str) -> Key {
    Key { name, when: &[], presence, shape, doc }
}

impl Key {
    const fn when(mut self, words: &'static [&'static str]) -> Key {
        self.when = words;
        self
    }
}

const PORT: Shape = Shape::Int { min: 1, max: 65_535 };
const STATUS: Shape = Shape::Int { min: 100, max: 599 };
const ON_FAILURE: Shape = Shape::Words(&[
    word("fail", "It fails what it belongs to."),
    word("warn", "It is recorded as a warning, and the work goes on."),
    word("continue", "The work goes on."),
]);

pub(crate) static DEPLOYMENT: Table = Table {
    name: "deployment",
    doc: "A spec file describes one application: a deployment and its services.",
    tag: None,
    keys: &[
        key(
            "version",
            Required,
            Shape::Words(&[word("v1", "This format.")]),
            "The version of the format that the file is written in.",
        ),
        key(
            "deployment",
            Required,
            Shape::Text(&DEPLOYMENT_NAME),
            "The application's name, unique in the cluster. Deploying a file replaces what the cluster runs under its name.",
        ),
        key(
            "services",
            Required,
            Shape::Map { key: &NAME, value: &Shape::Object(&SERVICE), min: 1, max: SERVICES_MAX },
            "The services by name. A name is unique in the deployment and becomes part of the replicas' names.",
        ),
    ],
};

const JOBS_LATER: &str = "this version runs `rtype: service`; leave the service out until jobs and schedules arrive";

pub(crate) static SERVICE: Table = Table {
    name: "service",
    doc: "One workload of the deployment.",
    tag: Some("rtype"),
    keys: &[
        key(
            "rtype",
            Default("service"),
            Shape::Words(&[
                word("service", "Runs until it is told otherwise."),
                later("job", "Runs to its end, once per request.", JOBS_LATER),
                later("cron", "Runs to its end, by a schedule.", JOBS_LATER),
            ]),
            "What kind of work it is.",
        ),
        key("image", Required, Shape::Object(&IMAGE), "The image that replicas are made of."),
        key(
            "command",
            Optional,
            Shape::List { item: &Shape::Text(&ARGUMENT), min: 1, max: 1000 },
            "Program and first arguments; replaces the image's ENTRYPOINT. Given without `args`, it also drops the image's \
             CMD. Not run through a shell. Left out: the image decides.",
        ),
        key(
            "args",
            Optional,
            Shape::List { item: &Shape::Text(&ARGUMENT), min: 0, max: 1000 },
            "Arguments; replaces the image's CMD. An empty list drops it. Left out: the image decides.",
        ),
        key(
            "working_dir",
            Optional,
            Shape::Text(&PATH),
            "The directory that the program starts in. Left out: the image decides.",
        ),
        key(
            "user",
            Optional,
            Shape::Text(&USER),
            "Whom the program runs as. Names are looked up in the image's own /etc/passwd and /etc/group. Left out: the \
             image decides.",
        ),
        key(
            "env",
            Optional,
            Shape::Map { key: &ENV_NAME, value: &Shape::Text(&ENV_VALUE), min: 0, max: 1000 },
            "Environment variables, added to the image's. Values are text exactly as written, numbers and `no` included. \
             `$E:NAME` takes the variable NAME of the agent's environment when the container starts, and the replica does \
             not start when it is missing. `$S:name` takes the secret `name` of the cluster, which must be there when the \
             service is deployed; a new value of it replaces the replicas. Text that begins with `$` is written `$$…`.",
        ),
        key("resources", Optional, Shape::Object(&RESOURCES), "What a replica reserves and may use at most."),
        key(
            "endpoints",
            Optional,
            Shape::List { item: &Shape::Object(&ENDPOINT), min: 0, max: 100 },
            "The named ports at which replicas answer.",
        ),
        key("scale", Optional, Shape::Object(&SCALE), "How many replicas there are. Left out: one, fixed."),
        key(
            "depends",
            Optional,
            Shape::List { item: &Shape::Object(&DEPENDENCY), min: 0, max: 100 },
            "What must be up before replicas are started. Circles are refused.",
        ),
        key(
            "health",
            Optional,
            Shape::Object(&HEALTH),
            "How to tell that a replica is well. Left out: a replica whose process runs is ready.",
        ),
        key("init", Optional, Shape::Object(&INIT), "What must succeed before a replica is first started."),
        key("errors", Optional, Shape::Object(&ERRORS), "What to do about failures."),
        key("network", Optional, Shape::Object(&NETWORK), "Which networks replicas are part of."),
        key("update", Optional, Shape::Object(&UPDATE), "How replicas are replaced when the service changes."),
        key("placement", Optional, Shape::Object(&PLACEMENT), "On which nodes replicas may be."),
        key(
            "volumes",
            Optional,
            Shape::List { item: &Shape::Object(&VOLUME), min: 0, max: 100 },
            "What is mounted into each replica.",
        ),
        key(
            "secrets",
            Optional,
            Shape::List { item: &Shape::Object(&SECRET_FILE), min: 0, max: SECRET_FILES_MAX },
            "Secrets of the cluster that replicas have as files. For those in variables see `env`.",
        ),
        key(
            "stop_signal",
            Optional,
            Shape::Text(&SIGNAL),
            "The signal that asks the process to end. Left out: the image decides; SIGTERM when it does not.",
        ),
        key(
            "stop_grace_period",
            Default("10s"),
            Shape::Duration { min: 0, max: HOUR },
            "How long the process may take to end after the signal; then it is killed.",
        ),
        key(
            "schedule",
            Required,
            Shape::Text(&SCHEDULE),
            "When runs start. Lists, ranges, steps, and names of months and weekdays are understood.",
        )
        .when(&["cron"]),
        key("timezone", Default("UTC"), Shape::Text(&TIMEZONE), "The time zone of `schedule`.").when(&["cron"]),
        key("job", Optional, Shape::Object(&JOB), "How runs are made.").when(&["job"]),
        key("job", Optional, Shape::Object(&CRON_JOB), "How runs are made.").when(&["cron"]),
    ],
};
