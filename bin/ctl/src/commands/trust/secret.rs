//! `secret`.

use super::read_whole;
use crate::args::trust::SecretCommand;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::time;
use crate::render::table::table;
use orlop_client::Secret;
use serde::Serialize;

#[derive(Debug, Serialize)]
struct SecretOut {
    name: String,
    version: u64,
    changed_at: String,
    key_version: u32,
    users: Vec<String>,
}

impl From<&Secret> for SecretOut {
    fn from(secret: &Secret) -> Self {
        Self {
            name: secret.name.to_string(),
            version: secret.version,
            changed_at: time(secret.changed_at),
            key_version: secret.key_version,
            users: secret.users.iter().map(ToString::to_string).collect(),
        }
    }
}

#[derive(Debug, Serialize)]
struct SetOut {
    name: String,
    version: u64,
}

#[derive(Debug, Serialize)]
struct RemovedOut {
    removed: String,
}

#[derive(Debug, Serialize)]
struct RotatedOut {
    key_version: u32,
    secrets: u32,
}

pub(crate) async fn secret(context: &Context, command: SecretCommand) -> Result<(), Failure> {
    match command {
        SecretCommand::Set { name, file } => {
            let value = without_newline(read_whole(&file)?);
            if value.is_empty() {
                let path = file.display();
                return Err(Failure::usage(format!("{path} is empty: a secret has at least one byte")));
            }
            let version = context.trust()?.set_secret(&name, value).await?;
            let text = format!("Secret {name} has version {version} now.\n");
            context.print(|| text, SetOut { name: name.to_string(), version })
        }
        SecretCommand::Ls => {
            let secrets = context.trust()?.secrets().await?;
            let values: Vec<SecretOut> = secrets.iter().map(Into::into).collect();
            let row = |secret: &SecretOut| {
                let users = if secret.users.is_empty() { "nobody".to_owned() } else { secret.users.join(", ") };
                vec![secret.name.clone(), secret.version.to_string(), secret.changed_at.clone(), users]
            };
            let rows: Vec<Vec<String>> = values.iter().map(row).collect();
            context.print(|| table(&["SECRET", "VERSION", "SET", "USED BY"], &rows), values)
        }
        SecretCommand::Rm { name } => {
            context.trust()?.remove_secret(&name).await?;
            context.print(|| format!("Secret {name} is removed.\n"), RemovedOut { removed: name.to_string() })
        }
        SecretCommand::Rotate => {
            let (key_version, secrets) = context.trust()?.rotate_secrets().await?;
            let text = format!("{secrets} secrets are sealed with version {key_version} of the key now.\n");
            context.print(|| text, RotatedOut { key_version, secrets })
        }
    }
}

/// Editors and `echo` end a file with a newline, which is no part of a password.
fn without_newline(mut value: Vec<u8>) -> Vec<u8> {
    if value.last() == Some(&b'\n') {
        value.pop();
        if value.last() == Some(&b'\r') {
            value.pop();
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_newline_at_the_end_is_no_part_of_a_secret() {
        for (given, kept) in
            [("a\n", "a"), ("a\r\n", "a"), ("a", "a"), ("a\n\n", "a\n"), ("\na", "\na"), ("\n", ""), ("a\r", "a\r")]
        {
            assert_eq!(without_newline(given.into()), kept.as_bytes(), "{given:?}");
        }
    }
}
