//! Layers of configuration, put together into one typed value.

use anyhow::Context;
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::{Dict, Value};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The flags that every program has; flatten them into the program's own, for clap and for serde.
#[derive(Debug, Clone, Default, clap::Args, Serialize)]
pub struct Common {
    /// A TOML file with the settings, written with underscores; the environment (ORLOP_<ROLE>_<KEY>) wins over it, and flags
    /// win over both.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Print the settings as they are after all layers, as a configuration file has them, and end.
    #[arg(long)]
    #[serde(skip)]
    pub print_config: bool,
    /// What to log: a level (error, warn, info, debug, trace) or levels by target [default: info].
    #[arg(long, value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// How log lines look: json or text [default: json].
    #[arg(long, value_name = "FORMAT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<String>,
}

/// How a program logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) log: String,
    pub(crate) log_format: String,
}

const LOG_KEYS: [&str; 2] = ["log", "log_format"];

/// Puts the layers together.
pub(crate) fn load<F, C>(role: &str, flags: &F, common: &Common) -> anyhow::Result<(C, Log)>
where
    F: Serialize,
    C: Default + Serialize + DeserializeOwned,
{
    let log = Log { log: "info".into(), log_format: "json".into() };
    let mut layers = Figment::from(Serialized::defaults(C::default())).merge(Serialized::defaults(log));
    if let Some(path) = &common.config {
        // Toml::file would take an absent file for an empty one.
        anyhow::ensure!(path.is_file(), "there is no configuration file {}", path.display());
        layers = layers.merge(Toml::file_exact(path));
    }
    let prefix = format!("ORLOP_{}_", role.to_uppercase().replace('-', "_"));
    let layers = layers.merge(Env::prefixed(&prefix).split("__")).merge(Serialized::defaults(flags));
    let mut settings: Dict = layers.extract().context("the configuration cannot be used")?;
    let log: Dict = LOG_KEYS.iter().filter_map(|key| settings.remove_entry(*key)).collect();
    let log = Value::from(log).deserialize().context("the configuration cannot be used")?;
    let config = Value::from(settings).deserialize().context("the configuration cannot be used")?;
    Ok((config, log))
}

/// The settings as a configuration file.
pub(crate) fn print<C: Serialize>(config: &C, log: &Log) -> anyhow::Result<String> {
    // Values before tables: what follows a table's header belongs to it.
    Ok(toml::to_string(log)? + &toml::to_string(config)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Config {
        socket: PathBuf,
        limit: u32,
    }

    impl Default for Config {
        fn default() -> Self {
            Self { socket: "/run/x.sock".into(), limit: 5 }
        }
    }

    #[derive(Serialize, Default)]
    struct Flags {
        #[serde(skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
        #[serde(flatten)]
        common: Common,
    }

    fn loaded(file: &str, flags: &Flags) -> anyhow::Result<(Config, Log)> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("config.toml");
        std::fs::write(&path, file)?;
        load("some-role", flags, &Common { config: Some(path), ..Common::default() })
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let (config, log) = loaded("socket = \"/a\"\nlimit = 6\nlog = \"debug\"\n", &Flags::default()).expect("good");
        assert_eq!((config.socket, config.limit), ("/a".into(), 6));
        assert_eq!((log.log.as_str(), log.log_format.as_str()), ("debug", "json"));
        let flags = Flags { limit: Some(7), ..Flags::default() };
        assert_eq!(loaded("limit = 6\n", &flags).expect("good").0, Config { limit: 7, ..Config::default() });
    }

    #[test]
    fn what_is_printed_is_read_back_as_the_same() {
        let flags = Flags { limit: Some(9), ..Flags::default() };
        let (config, log) = loaded("log = \"debug\"\n", &flags).expect("good");
        let printed = print(&config, &log).expect("printable");
        assert_eq!(loaded(&printed, &Flags::default()).expect("good"), (config, log), "{printed}");
    }

    #[test]
    fn unknown_keys_wrong_types_and_absent_files_are_errors() {
        for file in ["sockets = \"/a\"\n", "limit = \"many\"\n", "limit = -1\n", "log = 3\n", "this is not toml"] {
            assert!(loaded(file, &Flags::default()).is_err(), "{file}");
        }
        let absent = Common { config: Some("/no/such/file".into()), ..Common::default() };
        let error = load::<Flags, Config>("some-role", &Flags::default(), &absent).expect_err("absent");
        assert!(error.to_string().contains("/no/such/file"));
    }
}
