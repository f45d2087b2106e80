//! nftables through its own program: one transaction per change, and no change when the rules are right.

use orlop_overlay_core::Instance;
use serde::Deserialize;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// What went wrong with nftables.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The program could not be run.
    #[error("could not run nft; install the package nftables")]
    Spawn(#[source] std::io::Error),
    /// It refused.
    #[error("nft {what} failed: {message}")]
    Refused {
        /// What was asked of it.
        what: String,
        /// What it said.
        message: String,
    },
    /// It said something that could not be read.
    #[error("could not read what nft said")]
    Unreadable(#[source] serde_json::Error),
}

async fn nft(arguments: &[&str], input: Option<&str>) -> Result<String, NftError> {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(NftError::Spawn)?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        // A program that ends without reading says why on its standard error.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(NftError::Spawn)?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(NftError::Refused { what: arguments.join(" "), message })
    }
}

/// Does all that `script` says, or nothing.
pub(crate) async fn apply(script: &str) -> Result<(), NftError> {
    nft(&["-f", "-"], Some(script)).await.map(drop)
}

/// How nft prints the instance's table; `None` without one.
pub(crate) async fn own_table(instance: &Instance) -> Result<Option<String>, NftError> {
    match nft(&["-s", "list", "table", "inet", instance.table()], None).await {
        Ok(text) => Ok(Some(text)),
        Err(NftError::Refused { message, .. }) if message.contains("No such file or directory") => Ok(None),
        Err(error) => Err(error),
    }
}

#[derive(Deserialize)]
struct Listing {
    nftables: Vec<Item>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Item {
    chain: Option<Chain>,
    rule: Option<Rule>,
}

/// A chain as nft names it.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) family: String,
    pub(crate) table: String,
    pub(crate) name: String,
    #[serde(default)]
    hook: Option<String>,
    #[serde(default)]
    policy: Option<String>,
}

#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) family: String,
    pub(crate) table: String,
    pub(crate) chain: String,
    pub(crate) handle: u64,
    #[serde(default)]
    pub(crate) comment: Option<String>,
}

fn items(json: &str) -> Result<Vec<Item>, NftError> {
    serde_json::from_str::<Listing>(json).map(|listing| listing.nftables).map_err(NftError::Unreadable)
}

/// Chains of other tables that drop forwarded IPv4 packets by policy.
pub(crate) async fn closed_chains(instance: &Instance) -> Result<Vec<Chain>, NftError> {
    let ours = |chain: &Chain| chain.family == "inet" && chain.table == instance.table();
    Ok(items(&nft(&["-j", "list", "chains"], None).await?)?
        .into_iter()
        .filter_map(|item| item.chain)
        .filter(|chain| matches!(chain.family.as_str(), "ip" | "inet") && !ours(chain))
        .filter(|chain| chain.hook.as_deref() == Some("forward") && chain.policy.as_deref() == Some("drop"))
        .collect())
}

/// The rules of a foreign chain.
pub(crate) async fn rules_of(chain: &Chain) -> Result<Vec<Rule>, NftError> {
    let listing = nft(&["-j", "list", "chain", &chain.family, &chain.table, &chain.name], None).await?;
    Ok(items(&listing)?.into_iter().filter_map(|item| item.rule).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_and_rules_are_read_from_what_nft_prints() {
        let json = r#"{"nftables": [{"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
            {"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "handle": 2, "type": "filter",
             "hook": "forward", "prio": 0, "policy": "drop"}},
            {"chain": {"family": "ip", "table": "filter", "name": "DOCKER", "handle": 3}},
            {"rule": {"family": "ip", "table": "filter", "chain": "FORWARD", "handle": 9,
             "comment": "orlop orlop out", "expr": [{"accept": null}]}}]}"#;
        let items = items(json).unwrap();
        assert_eq!(items[1].chain.as_ref().unwrap().policy.as_deref(), Some("drop"));
        assert_eq!(items[2].chain.as_ref().unwrap().hook, None);
        assert_eq!(items[3].rule.as_ref().unwrap().handle, 9);
    }
}
