//! Taking hosts away.

use super::HostsArgs;

/// Ends everything that runs on the hosts and takes them away, with their data unless that is to stay. Harmless when there
/// are none.
pub(crate) fn down(args: &HostsArgs, keep_data: bool) -> anyhow::Result<()> {
    orlop_hosts::remove(&args.config())?;
    if !keep_data {
        match std::fs::remove_dir_all(&args.data) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    println!("The hosts named {} are gone{}.", args.instance, if keep_data { "; their data stays" } else { "" });
    Ok(())
}
