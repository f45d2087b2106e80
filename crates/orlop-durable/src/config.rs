//! What an engine needs to know.

use crate::store::StoreError;
use sqlx::postgres::PgConnectOptions;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// What an engine needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where workers and clients connect; loopback only, because nobody is asked who they are.
    pub listen: SocketAddr,
    /// Where the store is.
    pub store: StoreConfig,
    /// How often workers are asked whether they are there.
    pub ping: Duration,
    /// When a silent worker is lost.
    pub lost_after: Duration,
    /// No payload is larger, in bytes.
    pub payload_bytes_max: u64,
}

impl Config {
    /// The defaults, with a store.
    pub fn new(store: StoreConfig) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7420)),
            store,
            ping: Duration::from_secs(1),
            lost_after: Duration::from_secs(3),
            payload_bytes_max: 4 << 20,
        }
    }

    /// What is wrong with it, if anything is.
    pub fn check(&self) -> Result<(), String> {
        let within = |name: &str, found: u64, from: u64, to: u64| {
            let wrong = || Err(format!("{name} is {found}; it is between {from} and {to}"));
            if (from..=to).contains(&found) { Ok(()) } else { wrong() }
        };
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        within("ping_ms", millis(self.ping), 50, 60_000)?;
        within("lost_after_ms", millis(self.lost_after), 2 * millis(self.ping), 600_000)?;
        within("payload_bytes_max", self.payload_bytes_max, 1024, 64 << 20)
    }
}

/// Where runs and tasks are kept. Written `sqlite:DIR` or `postgres://…`; printed without its secrets.
#[derive(Debug, Clone)]
pub enum StoreConfig {
    /// SQLite in a directory, for one engine.
    Sqlite(PathBuf),
    /// PostgreSQL, where several engines stand by for each other.
    Postgres(PostgresUrl),
}

impl FromStr for StoreConfig {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        match text.split_once(':') {
            Some(("sqlite", "")) => Err(StoreError::Url("sqlite: wants a directory".into())),
            Some(("sqlite", directory)) => Ok(Self::Sqlite(directory.into())),
            Some(("postgres" | "postgresql", _)) => text.parse().map(Self::Postgres),
            _ => Err(StoreError::Url("write it like sqlite:DIR or postgres://USER@HOST/DATABASE".into())),
        }
    }
}

impl fmt::Display for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(directory) => write!(f, "SQLite in {}", directory.display()),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

/// The URL of a store as it may be printed: with `…` for each password in it.
pub fn without_secrets(url: &str) -> String {
    let (address, parameters) = url.split_once('?').map_or((url, None), |(address, rest)| (address, Some(rest)));
    let mut shown = address.to_owned();
    if let Some((scheme, rest)) = address.split_once("://")
        && let Some((user, host)) = rest.rsplit_once('@')
        && let Some((user, _)) = user.split_once(':')
    {
        shown = format!("{scheme}://{user}:…@{host}");
    }
    let Some(parameters) = parameters else { return shown };
    let parameter = |parameter: &str| match parameter.split_once('=') {
        Some((name, _)) if name.contains("password") => format!("{name}=…"),
        _ => parameter.to_owned(),
    };
    let parameters: Vec<String> = parameters.split('&').map(parameter).collect();
    format!("{shown}?{}", parameters.join("&"))
}

/// Where a database is, and who asks for it. What is printed has no password.
#[derive(Clone)]
pub struct PostgresUrl(Box<PgConnectOptions>);

impl PostgresUrl {
    pub(crate) fn options(&self) -> &PgConnectOptions {
        &self.0
    }
}

impl FromStr for PostgresUrl {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(text).map_err(|error| StoreError::Url(error.to_string()))?;
        Ok(Self(Box::new(options.application_name("orlop-engine"))))
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get_socket() {
            Some(socket) => write!(f, "PostgreSQL in {}", socket.display())?,
            None => write!(f, "PostgreSQL at {}:{}", self.0.get_host(), self.0.get_port())?,
        }
        match self.0.get_database() {
            Some(database) => write!(f, ", database {database}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_written_as_urls() {
        for (url, said) in [
            ("sqlite:/var/lib/x", "SQLite in /var/lib/x"),
            ("sqlite:x y", "SQLite in x y"),
            ("postgres://me:secret@db:5433/work", "PostgreSQL at db:5433, database work"),
            ("postgresql:///work?host=/run/pg&password=secret", "PostgreSQL in /run/pg, database work"),
        ] {
            let store: StoreConfig = url.parse().expect(url);
            assert_eq!(store.to_string(), said);
            assert!(!format!("{store:?}{}", without_secrets(url)).contains("secret"));
        }
        for bad in ["", "sqlite:", "/var/lib/x", "mysql://me:secret@db/work", "postgres://me:secret@db:port/work"] {
            let error = bad.parse::<StoreConfig>().expect_err(bad).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_is_printed_of_a_url_has_no_password() {
        for (url, shown) in [
            ("sqlite:/a:b@c?d", "sqlite:/a:b@c?d"),
            ("postgres://me@db/work?sslmode=require", "postgres://me@db/work?sslmode=require"),
            ("postgres://me:a@b:c@db/work", "postgres://me:…@db/work"),
            ("postgres:///work?user=me&password=a", "postgres:///work?user=me&password=…"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }
}
