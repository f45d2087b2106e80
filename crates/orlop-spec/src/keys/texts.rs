//! The kinds of text with a grammar of their own. What they mean is decided in [`crate::grammar`].

use crate::table::Text;

const LABEL_PATTERN: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";
const NAME_EXPECTED: &str = "1–63 characters of a–z, 0–9 and -, beginning and ending with a letter or digit";

pub(crate) static DEPLOYMENT_NAME: Text = Text {
    name: "name",
    expected: "3–63 characters of a–z, 0–9 and -, beginning and ending with a letter or digit",
    pattern: Some("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$"),
    bare: true,
    example: "shop",
};
pub(crate) static NAME: Text =
    Text { name: "name", expected: NAME_EXPECTED, pattern: Some(LABEL_PATTERN), bare: true, example: "api" };
pub(crate) static IMAGE_NAME: Text = Text {
    name: "image reference",
    expected: "an image with host, repository and tag or digest, such as registry.example/shop/api:1.4",
    pattern: Some(
        "^[A-Za-z0-9.-]+(:[0-9]+)?/[a-z0-9._/-]+(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[a-f0-9]{64})?$",
    ),
    bare: false,
    example: "registry.example/shop/api:1.4",
};
pub(crate) static ARGUMENT: Text =
    Text { name: "text", expected: "text", pattern: None, bare: true, example: "--verbose" };
pub(crate) static PATH: Text = Text {
    name: "path",
    expected: "an absolute path without . and ..",
    pattern: Some("^/"),
    bare: false,
    example: "/srv",
};
pub(crate) static USER: Text = Text {
    name: "user",
    expected: "a user, or user:group, by name or number, such as 1000:1000 or nobody",
    pattern: Some("^[A-Za-z0-9_.][A-Za-z0-9_.-]*(:[A-Za-z0-9_.][A-Za-z0-9_.-]*)?$"),
    bare: true,
    example: "1000:1000",
};
pub(crate) static ENV_NAME: Text = Text {
    name: "variable name",
    expected: "letters, digits, _, . and -, not beginning with a digit, at most 256 characters",
    pattern: Some("^[A-Za-z_][A-Za-z0-9_.-]{0,255}$"),
    bare: true,
    example: "LOG",
};
pub(crate) static ENV_VALUE: Text = Text {
    name: "variable value",
    expected: "text, $E:NAME, $S:name, or $$… for text that begins with $",
    pattern: Some("^([^$]|\\$\\$|\\$E:[A-Za-z_][A-Za-z0-9_.-]*$|\\$S:[A-Za-z0-9_.-]{1,253}$|$)"),
    bare: true,
    example: "info",
};
pub(crate) static REQUEST_PATH: Text = Text {
    name: "request path",
    expected: "the beginning of request paths, such as /api",
    pattern: Some("^/[^?#*]*$"),
    bare: false,
    example: "/api",
};
pub(crate) static HOST: Text = Text {
    name: "host name",
    expected: "a host name of letters, digits, - and dots, such as shop.example",
    pattern: Some("^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$"),
    bare: true,
    example: "shop.example",
};
pub(crate) static TARGET_HOST: Text = Text {
    name: "host",
    expected: "a host name or address, such as db.example or 10.0.0.7",
    pattern: Some("^[A-Za-z0-9_.:-]+$"),
    bare: true,
    example: "db.example",
};
pub(crate) static URL: Text = Text {
    name: "URL",
    expected: "a URL such as http://localhost:8080/up",
    pattern: Some("^http://[^/?#@]+([/?][^#]*)?$"),
    bare: false,
    example: "http://localhost:8080/up",
};
pub(crate) static CONSTRAINT: Text = Text {
    name: "constraint",
    expected: "a comparison such as node.labels.disk == ssd or node.name != alpha",
    pattern: Some("^\\s*node\\.(name|labels\\.[A-Za-z0-9_./-]+)\\s*[=!]=\\s*[A-Za-z0-9_./-]+\\s*$"),
    bare: false,
    example: "node.labels.disk == ssd",
};
pub(crate) static SIGNAL: Text = Text {
    name: "signal",
    expected: "a Linux signal by name or number from 1 to 31, such as SIGTERM, INT or 15",
    pattern: Some("^([A-Za-z0-9]+)$"),
    bare: true,
    example: "SIGTERM",
};
pub(crate) static SECRET_NAME: Text = Text {
    name: "secret's name",
    expected: "the name of a secret of the cluster: 1–253 letters, digits, -, _ and .",
    pattern: Some("^[A-Za-z0-9_.-]{1,253}$"),
    bare: true,
    example: "db-password",
};
pub(crate) static SECRET_PATH: Text = Text {
    name: "path of a secret",
    expected: "an absolute path in a directory of secrets, such as /run/secrets/db-password",
    pattern: Some("^/+[^/]+/+[^/]"),
    bare: false,
    example: "/run/secrets/db-password",
};
pub(crate) static SECRET_MODE: Text = Text {
    name: "mode",
    expected: "who may read it, as three octal digits of 4 and 0 with a 0 in front, such as 0444, 0440 or 0400",
    pattern: Some("^0?[04]{3}$"),
    bare: true,
    example: "0400",
};
pub(crate) static CHANGE_SIGNAL: Text = Text {
    name: "signal",
    expected: "a Linux signal by name or number from 1 to 31, such as SIGHUP, USR1 or 10, but not SIGKILL or SIGSTOP",
    pattern: Some("^([A-Za-z0-9]+)$"),
    bare: true,
    example: "SIGHUP",
};
pub(crate) static SCHEDULE: Text = Text {
    name: "schedule",
    expected: "five fields (minute hour day month weekday), or six with seconds in front, such as \"0 3 * * *\"",
    pattern: Some("^\\S+(\\s+\\S+){4,5}$"),
    bare: false,
    example: "0 3 * * *",
};
pub(crate) static TIMEZONE: Text = Text {
    name: "time zone",
    expected: "UTC or a name of the time zone database, such as Europe/Berlin",
    pattern: Some("^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z][A-Za-z0-9_+-]*){0,2}$"),
    bare: false,
    example: "Europe/Berlin",
};
