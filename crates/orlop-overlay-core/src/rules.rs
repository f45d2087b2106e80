//! The nftables rules of an instance, as text for `nft -f -`.

use crate::{Instance, Subnet};

/// The instance's own table. One transaction replaces whatever the table held.
///
/// Replicas reach each other and the world, and leave with the node's address. What comes from outside reaches them
/// only as an answer: the way in is the proxy.
pub fn own_rules(instance: &Instance, subnet: Subnet) -> String {
    let (table, bridge, net) = (instance.table(), instance.bridge(), subnet.net());
    format!(
        r#"table inet {table}
delete table inet {table}
table inet {table} {{
	chain forward {{
		type filter hook forward priority -10; policy accept;
		iifname "{bridge}" accept
		oifname "{bridge}" ct state established,related accept
		oifname "{bridge}" drop
	}}
	chain postrouting {{
		type nat hook postrouting priority 100; policy accept;
		ip saddr {net} ip daddr != {net} oifname != "{bridge}" masquerade
	}}
}}
"#
    )
}

/// Rules, and the words that mark them as this instance's, for a chain of another table that drops forwarded packets by
/// policy. An `accept` in one table never overrules another table's policy, so on such a host (Docker's are) replicas
/// reach nothing unless that very chain lets them pass.
pub fn foreign_rules(instance: &Instance) -> [(String, String); 2] {
    let (bridge, table) = (instance.bridge(), instance.table());
    [
        (format!(r#"iifname "{bridge}" counter accept"#), format!("orlop {table} out")),
        (format!(r#"oifname "{bridge}" ct state established,related counter accept"#), format!("orlop {table} back")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_replaced_whole_and_nothing_else_is_named() {
        let instance = Instance::new("orlop7", "orlop_seven").unwrap();
        let rules = own_rules(&instance, Subnet::new("10.90.3.0/24".parse().unwrap()).unwrap());
        assert!(rules.starts_with("table inet orlop_seven\ndelete table inet orlop_seven\n"));
        assert!(rules.contains("ip saddr 10.90.3.0/24 ip daddr != 10.90.3.0/24"));
        assert_eq!(rules.matches("table inet").count(), rules.matches("table inet orlop_seven").count());
    }
}
