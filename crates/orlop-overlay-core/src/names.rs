//! Names of what an instance owns in the kernel. Every name is derived, so that a restarted daemon finds its things
//! again without a list of them, and two instances on one machine never meet.

use orlop_model::ReplicaId;

/// Linux takes at most 15 bytes for the name of an interface.
const INTERFACE_NAME_MAX: usize = 15;

/// What was wrong with the names of an instance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidInstance {
    /// The bridge's name cannot be an interface's.
    #[error("{0:?} cannot name a bridge: expected 1–15 characters of a–z, 0–9, - and _, beginning with a letter")]
    Bridge(String),
    /// The table's name cannot be one of nftables'.
    #[error("{0:?} cannot name an nftables table: expected 1–31 characters of a–z, 0–9 and _, beginning with a letter")]
    Table(String),
}

/// One overlay on a machine: its bridge and its nftables table, from which all other names follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    bridge: String,
    table: String,
}

impl Instance {
    /// Checks the two names.
    pub fn new(bridge: &str, table: &str) -> Result<Self, InvalidInstance> {
        let word = |text: &str, max: usize, more: &[u8]| {
            text.bytes().next().is_some_and(|c| c.is_ascii_lowercase())
                && text.len() <= max
                && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || more.contains(&c))
        };
        if !word(bridge, INTERFACE_NAME_MAX, b"-_") {
            return Err(InvalidInstance::Bridge(bridge.to_owned()));
        }
        if !word(table, 31, b"_") {
            return Err(InvalidInstance::Table(table.to_owned()));
        }
        Ok(Self { bridge: bridge.to_owned(), table: table.to_owned() })
    }

    /// The bridge.
    pub fn bridge(&self) -> &str {
        &self.bridge
    }

    /// The nftables table, of family `inet`.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The bridge's hardware address. Fixed, because a bridge without one takes over its lowest port's, and then every
    /// replica that comes or goes makes the others' idea of their gateway stale.
    pub fn bridge_mac(&self) -> [u8; 6] {
        let [a, b, c, d, ..] = hash(self.bridge.bytes()).to_be_bytes();
        [0x02, 0x6f, a, b, c, d]
    }

    /// The metric of routes to other nodes. It tells them from those of another instance on this machine.
    pub fn metric(&self) -> u32 {
        let [a, b, c, ..] = hash(self.bridge.bytes()).to_le_bytes();
        u32::from_be_bytes([0x6f, a, b, c])
    }

    /// The node's end of a replica's pair of interfaces.
    pub fn port(&self, replica: ReplicaId) -> String {
        const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut bits = hash(self.bridge.bytes().chain([0]).chain(replica.as_u128().to_be_bytes()));
        let mut name = String::from("o");
        for _ in 0..13 {
            name.push(char::from(DIGITS[(bits & 31) as usize]));
            bits >>= 5;
        }
        name
    }
}

/// FNV-1a, finished by one round of mixing: stable for ever, which the standard library's hasher does not promise.
fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    let folded = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let mixed = (folded ^ (folded >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_fit_an_interface_and_differ_between_replicas_and_instances() {
        let one = Instance::new("orlop0", "orlop").unwrap();
        let two = Instance::new("orlop1", "orlop1").unwrap();
        let names: BTreeSet<String> = (0..1000_u128)
            .map(ReplicaId::from_u128)
            .flat_map(|replica| [one.port(replica), two.port(replica)])
            .collect();
        assert_eq!(names.len(), 2000);
        assert!(names.iter().all(|name| name.len() <= INTERFACE_NAME_MAX));
        assert_ne!(one.bridge_mac(), two.bridge_mac());
        assert_eq!(one.bridge_mac()[0] & 3, 2, "a locally administered address of one machine");
    }

    #[test]
    fn names_that_the_kernel_would_refuse_are_refused_first() {
        for bad in ["", "0br", "a-name-too-long0", "br 0", "br/0", "Br0"] {
            assert!(Instance::new(bad, "orlop").is_err(), "{bad:?}");
        }
        for bad in ["", "or-lop", "orlop; flush ruleset", "1"] {
            assert!(Instance::new("orlop0", bad).is_err(), "{bad:?}");
        }
    }
}
