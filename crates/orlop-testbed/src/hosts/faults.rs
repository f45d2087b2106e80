//! Faults of the network, as rules of the switch's nftables.

use std::fmt::Write;

/// What is wrong with the way from one port of the switch to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing comes through, but for ARP: a host that was reached before knows the other's hardware, so in one direction
    /// datagrams still find their way.
    Cut {
        /// The port that packets come from.
        from: String,
        /// The port that they are for.
        to: String,
    },
    /// So many packets of a thousand are lost, by chance.
    Lose {
        /// The port that packets come from.
        from: String,
        /// The port that they are for.
        to: String,
        /// 0–1000.
        per_mille: u16,
    },
    /// What is more than this is lost.
    Throttle {
        /// The port that packets come from.
        from: String,
        /// The port that they are for.
        to: String,
        /// Of whole frames.
        kib_per_second: u32,
    },
}

/// A script that puts these faults in place of those before, in one step.
pub(super) fn rules(faults: &[Fault]) -> String {
    // Deleting takes a table that is there; naming one makes it.
    let mut script = "table bridge faults\ndelete table bridge faults\n".to_owned();
    if faults.is_empty() {
        return script;
    }
    script.push_str(
        "table bridge faults {\n  chain between {\n    type filter hook forward priority 0; policy accept;\n",
    );
    for fault in faults {
        let _ = match fault {
            Fault::Cut { from, to } => {
                writeln!(script, "    iifname \"{from}\" oifname \"{to}\" ether type {{ ip, ip6 }} drop")
            }
            Fault::Lose { from, to, per_mille } => {
                writeln!(script, "    iifname \"{from}\" oifname \"{to}\" numgen random mod 1000 < {per_mille} drop")
            }
            Fault::Throttle { from, to, kib_per_second } => writeln!(
                script,
                "    iifname \"{from}\" oifname \"{to}\" limit rate over {kib_per_second} kbytes/second drop"
            ),
        };
    }
    // Frames for the switch itself, the machine's among them, are forwarded likewise: it has no address.
    script.push_str("  }\n}\n");
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_before_go_in_the_same_step() {
        let cut = Fault::Cut { from: "p1".into(), to: "p2".into() };
        let lose = Fault::Lose { from: "p2".into(), to: "p1".into(), per_mille: 300 };
        let slow = Fault::Throttle { from: "p3".into(), to: "outside".into(), kib_per_second: 64 };
        assert_eq!(
            rules(&[cut, lose, slow]),
            "table bridge faults\n\
             delete table bridge faults\n\
             table bridge faults {\n  chain between {\n    type filter hook forward priority 0; policy accept;\n    \
             iifname \"p1\" oifname \"p2\" ether type { ip, ip6 } drop\n    \
             iifname \"p2\" oifname \"p1\" numgen random mod 1000 < 300 drop\n    \
             iifname \"p3\" oifname \"outside\" limit rate over 64 kbytes/second drop\n  }\n}\n"
        );
        assert_eq!(rules(&[]), "table bridge faults\ndelete table bridge faults\n");
    }
}
