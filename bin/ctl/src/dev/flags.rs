//! What of the agent's settings a node of one machine needs.

use crate::args::span;
use clap::Args;
use orlop_agent::LogLimits;
use orlop_model::{Cpu, Memory, Millis, Resources};

/// What containers may write, and what is kept from them.
#[derive(Debug, Clone, Args)]
pub(super) struct Limits {
    /// A container's log file that has reached this size is followed by a new one: 64Ki, 10Mi (at least 4Ki).
    #[arg(long, value_name = "SIZE", default_value = "10Mi", value_parser = size)]
    logs_file_size: Memory,
    /// How many log files of each replica are kept.
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(2..=1000))]
    logs_files: u32,
    /// How long logs of a replica that is gone are kept: 12h, 7d.
    #[arg(long, value_name = "SPAN", default_value = "7d", value_parser = span)]
    logs_age: Millis,
    /// How much of such logs is kept in all, the oldest going first.
    #[arg(long, value_name = "SIZE", default_value = "10Gi", value_parser = size)]
    logs_size: Memory,
    /// Cores of the machine that replicas may not reserve: 0.5, 2.
    #[arg(long, value_name = "CORES", default_value = "0", value_parser = cores)]
    reserve_cpu: Cpu,
    /// Memory of the machine that replicas may not reserve: 512Mi, 2Gi.
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = size)]
    reserve_memory: Memory,
}

impl Limits {
    /// For the agent.
    ///
    /// # Errors
    /// When a file would be too small to hold a line.
    pub(super) fn logs(&self) -> anyhow::Result<LogLimits> {
        let file_bytes_max = self.logs_file_size.0;
        anyhow::ensure!(file_bytes_max >= 4096, "--logs-file-size: found {}; at least 4Ki", self.logs_file_size);
        Ok(LogLimits {
            file_bytes_max,
            files_max: self.logs_files,
            age_max: self.logs_age.into(),
            bytes_max: self.logs_size.0,
        })
    }

    /// What is kept from replicas.
    pub(super) fn reserve(&self) -> Resources {
        Resources {
            cpu: Some(self.reserve_cpu).filter(|cpu| cpu.0 > 0),
            memory: Some(self.reserve_memory).filter(|memory| memory.0 > 0),
        }
    }
}

/// Reads `KEY=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not of the form KEY=VALUE")),
    }
}

/// Reads `0`, `4096`, `64Ki`, `10Mi`, `1Gi`.
fn size(text: &str) -> Result<Memory, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" => 0,
        "Ki" => 10,
        "Mi" => 20,
        "Gi" => 30,
        "Ti" => 40,
        _ => return Err(format!("{text:?} is no size: write 64Ki, 10Mi or 1Gi")),
    };
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is no size: write 64Ki, 10Mi or 1Gi"))?;
    number.checked_mul(1 << shift).map(Memory).ok_or_else(|| format!("{text:?} is larger than any disk"))
}

/// Reads `0.5`, `2`.
fn cores(text: &str) -> Result<Cpu, String> {
    let wrong = || format!("{text:?} is no number of cores: write 0.5 or 2, in thousandths at most");
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit());
    if !is_number(whole) || !is_number(part) || part.len() > 3 || whole.len() > 6 {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let part: u64 = format!("{part:0<3}").parse().map_err(|_| wrong())?;
    Ok(Cpu(whole * 1000 + part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_cores_and_pairs_are_read_or_refused() {
        for (text, bytes) in [("0", 0), ("4096", 4096), ("64Ki", 64 << 10), ("10Mi", 10 << 20), ("1Gi", 1 << 30)] {
            assert_eq!(size(text), Ok(Memory(bytes)), "{text}");
        }
        for bad in ["", "Mi", "10M", "1.5Gi", "-1", "99999999999Ti"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        for (text, millis) in [("0", 0), ("2", 2000), ("0.5", 500), ("1.125", 1125)] {
            assert_eq!(cores(text), Ok(Cpu(millis)), "{text}");
        }
        for bad in ["", ".5", "1.", "1.2345", "x", "-1", "99999999"] {
            assert!(cores(bad).is_err(), "{bad}");
        }
        assert_eq!(pair("disk=ssd"), Ok(("disk".into(), "ssd".into())));
        for bad in ["disk", "=ssd", "disk="] {
            assert!(pair(bad).is_err(), "{bad}");
        }
    }
}
