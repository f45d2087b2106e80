//! The nftables rules of an instance, as text for `nft -f -`.

use crate::{Instance, Peers, Subnet};
use std::fmt::Display;

/// The instance's own table. One transaction replaces whatever the table held.
///
/// Replicas reach each other, those of other nodes, and the world. To other nodes' replicas they show their own address,
/// to the world the node's. What comes from outside reaches them as an answer, or from other nodes: from replicas there, and
/// from the node itself, whose proxy has requests for them.
pub fn own_rules(instance: &Instance, subnet: Subnet, peers: &Peers) -> String {
    let (table, bridge, net) = (instance.table(), instance.bridge(), subnet.net());
    let (mut accepted, mut beyond) = (String::new(), format!("ip daddr != {net}"));
    if !peers.is_empty() {
        let (subnets, addresses) = (set(peers.keys()), set(peers.values()));
        accepted = format!(
            "\t\toifname \"{bridge}\" ip saddr {subnets} accept\n\t\toifname \"{bridge}\" ip saddr {addresses} accept\n"
        );
        beyond = format!("{beyond} ip daddr != {subnets}");
    }
    format!(
        r#"table inet {table}
delete table inet {table}
table inet {table} {{
	chain forward {{
		type filter hook forward priority -10; policy accept;
		iifname "{bridge}" accept
		oifname "{bridge}" ct state established,related accept
{accepted}		oifname "{bridge}" drop
	}}
	chain postrouting {{
		type nat hook postrouting priority 100; policy accept;
		ip saddr {net} {beyond} oifname != "{bridge}" masquerade
	}}
}}
"#
    )
}

/// A set of nftables, in order and without repetitions.
fn set<T: Display + Ord>(items: impl Iterator<Item = T>) -> String {
    let items: std::collections::BTreeSet<T> = items.collect();
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    format!("{{ {} }}", items.join(", "))
}

/// Rules, and the words that mark them as this instance's, for a chain of another table that drops forwarded packets by
/// policy. An `accept` in one table never overrules another table's policy, so on such a host (Docker's are) replicas
/// reach nothing unless that very chain lets them pass. What may not come in, our own table has dropped before.
pub fn foreign_rules(instance: &Instance) -> [(String, String); 2] {
    let (bridge, table) = (instance.bridge(), instance.table());
    [
        (format!(r#"iifname "{bridge}" counter accept"#), format!("orlop {table} out")),
        (format!(r#"oifname "{bridge}" counter accept"#), format!("orlop {table} in")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_replaced_whole_and_nothing_else_is_named() {
        let instance = Instance::new("orlop7", "orlop_seven").unwrap();
        let subnet = Subnet::new("10.90.3.0/24".parse().unwrap()).unwrap();
        let rules = own_rules(&instance, subnet, &Peers::new());
        assert!(rules.starts_with("table inet orlop_seven\ndelete table inet orlop_seven\n"));
        assert!(rules.contains("ip saddr 10.90.3.0/24 ip daddr != 10.90.3.0/24"));
        assert_eq!(rules.matches("table inet").count(), rules.matches("table inet orlop_seven").count());
    }

    #[test]
    fn other_nodes_come_in_and_see_replicas_as_they_are() {
        let instance = Instance::new("orlop0", "orlop").unwrap();
        let subnet = Subnet::new("10.90.3.0/24".parse().unwrap()).unwrap();
        let node = |text: &str| text.parse().unwrap();
        let peers = [("10.90.4.0/24", "192.0.2.4"), ("10.90.5.0/24", "192.0.2.4")];
        let peers: Peers = peers.into_iter().map(|(net, at)| (net.parse().unwrap(), node(at))).collect();
        let rules = own_rules(&instance, subnet, &peers);
        let (before, after) = rules.split_once("oifname \"orlop0\" drop").unwrap();
        assert!(before.contains("ip saddr { 10.90.4.0/24, 10.90.5.0/24 } accept"), "{rules}");
        // nftables refuses an element that is named twice.
        assert!(before.contains("ip saddr { 192.0.2.4 } accept"), "{rules}");
        assert!(
            after.contains("ip daddr != { 10.90.4.0/24, 10.90.5.0/24 } oifname != \"orlop0\" masquerade"),
            "{rules}"
        );
    }
}
