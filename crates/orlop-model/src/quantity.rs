//! Amounts of cpu and memory.

use std::fmt;

/// Processor share in thousandths of a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Cpu(pub u64);

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) {
            write!(f, "{}", self.0 / 1000)
        } else {
            write!(f, "{}.{}", self.0 / 1000, format!("{:03}", self.0 % 1000).trim_end_matches('0'))
        }
    }
}

/// Bytes of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Memory(pub u64);

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 4] = [(1 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")];
        match UNITS.iter().find(|(unit, _)| self.0 != 0 && self.0.is_multiple_of(*unit)) {
            Some((unit, suffix)) => write!(f, "{}{suffix}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

/// What a service asks for, or what a node has. `None` asks for nothing and is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Resources {
    /// Reserved when placing, and the ceiling of the container's cpu time.
    pub cpu: Option<Cpu>,
    /// Reserved when placing, and the ceiling of the container's memory; past it the kernel kills the container.
    pub memory: Option<Memory>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_print_the_way_they_are_written() {
        assert_eq!(Cpu(500).to_string(), "0.5");
        assert_eq!(Cpu(2000).to_string(), "2");
        assert_eq!(Cpu(1025).to_string(), "1.025");
        assert_eq!(Memory(256 << 20).to_string(), "256Mi");
        assert_eq!(Memory(1000).to_string(), "1000");
    }
}
