//! The route table: a value, built whole from routes and swapped whole.

use orlop_model::spec::Protocol;
use orlop_model::{Route, RouteKey};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Two routes that claim the same thing. The one whose name comes first in the alphabet has it, on every node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// What both claim: `shop.example/api`, `*/`, `port 5432`.
    pub claim: String,
    /// Who has it.
    pub winner: RouteKey,
    /// Who does not.
    pub loser: RouteKey,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} claims {}, which {} has", self.loser, self.claim, self.winner)
    }
}

/// Which route answers for which host and path, or port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table<T = Arc<Route>> {
    /// Rules by host, the longest prefix first.
    hosts: BTreeMap<String, Vec<Rule<T>>>,
    any_host: Vec<Rule<T>>,
    ports: BTreeMap<u16, T>,
    conflicts: Vec<Conflict>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { hosts: BTreeMap::new(), any_host: Vec::new(), ports: BTreeMap::new(), conflicts: Vec::new() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule<T> {
    /// Without a slash at the end: empty for all paths.
    prefix: String,
    target: T,
}

impl<T> Rule<T> {
    fn matches(&self, path: &str) -> bool {
        path.strip_prefix(self.prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl<T> Table<T> {
    /// Builds a table; `target` makes of each route what a lookup answers with.
    pub fn build<'a>(routes: impl IntoIterator<Item = &'a Route>, mut target: impl FnMut(&'a Route) -> T) -> Self {
        let routes: BTreeMap<RouteKey, &Route> = routes.into_iter().map(|route| (route.key(), route)).collect();
        let mut table = Self::default();
        let mut claims: BTreeMap<String, RouteKey> = BTreeMap::new();
        for (key, route) in routes {
            let endpoint = &route.endpoint;
            let host = endpoint.host.as_deref().map(|host| normal_host(host).to_ascii_lowercase());
            let prefix = endpoint.path.trim_end_matches('/').to_owned();
            let claim = match endpoint.protocol {
                Protocol::Http => format!("{}{prefix}/", host.as_deref().unwrap_or("*")),
                Protocol::Tcp => format!("port {}", endpoint.port),
            };
            if let Some(winner) = claims.get(&claim) {
                table.conflicts.push(Conflict { claim, winner: winner.clone(), loser: key });
                continue;
            }
            claims.insert(claim, key);
            let target = target(route);
            match (endpoint.protocol, host) {
                (Protocol::Tcp, _) => {
                    table.ports.insert(endpoint.port, target);
                }
                (Protocol::Http, Some(host)) => table.hosts.entry(host).or_default().push(Rule { prefix, target }),
                (Protocol::Http, None) => table.any_host.push(Rule { prefix, target }),
            }
        }
        for rules in table.hosts.values_mut().chain([&mut table.any_host]) {
            rules.sort_by_key(|rule| std::cmp::Reverse(rule.prefix.len()));
        }
        table
    }

    /// The route of a request: the longest prefix among those of its host, else among those of any host. Host and path
    /// are as the client sent them; a port in the host does not count, nor does its case.
    pub fn http(&self, host: Option<&str>, path: &str) -> Option<&T> {
        let path = path.split(['?', '#']).next().unwrap_or_default();
        // `OPTIONS *` speaks of the whole server.
        let path = if path == "*" { "/" } else { path };
        let host = host.map(normal_host);
        let of_host = host.and_then(|host| match self.hosts.get(host) {
            None if host.bytes().any(|c| c.is_ascii_uppercase()) => self.hosts.get(&host.to_ascii_lowercase()),
            rules => rules,
        });
        of_host
            .into_iter()
            .chain([&self.any_host])
            .find_map(|rules| rules.iter().find(|rule| rule.matches(path)).map(|rule| &rule.target))
    }

    /// The routes of ports.
    pub fn ports(&self) -> &BTreeMap<u16, T> {
        &self.ports
    }

    /// Routes that got nothing, because others have what they claim.
    pub fn conflicts(&self) -> &[Conflict] {
        &self.conflicts
    }
}

/// A host without its port and without the dot that makes a name absolute.
fn normal_host(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        // The colons of an IPv6 address stand within brackets.
        Some((name, port)) if port.bytes().all(|c| c.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_model::spec::Endpoint;

    fn route(name: &str, protocol: Protocol, host: Option<&str>, path: &str, port: u16) -> Route {
        let (service, endpoint) = name.rsplit_once('/').unwrap();
        Route {
            service: service.parse().unwrap(),
            endpoint: Endpoint {
                name: endpoint.parse().unwrap(),
                protocol,
                port,
                path: path.to_owned(),
                host: host.map(str::to_owned),
            },
            backends: Vec::new(),
        }
    }

    fn http(name: &str, host: Option<&str>, path: &str) -> Route {
        route(name, Protocol::Http, host, path, 80)
    }

    fn built(routes: &[Route]) -> Table<String> {
        Table::build(routes, |route| route.key().to_string())
    }

    #[test]
    fn the_host_decides_first_then_the_longest_prefix_of_whole_segments() {
        let table = built(&[
            http("shop/web/http", Some("shop.example"), "/"),
            http("shop/api/http", Some("shop.example"), "/api"),
            http("shop/v2/http", Some("shop.example"), "/api/v2/"),
            http("blog/web/http", Some("blog.example"), "/posts"),
            http("main/any/http", None, "/"),
        ]);
        for (host, path, expected) in [
            (Some("shop.example"), "/", "shop/web/http"),
            (Some("SHOP.example:8080"), "/x", "shop/web/http"),
            (Some("shop.example."), "/api", "shop/api/http"),
            (Some("shop.example"), "/api/", "shop/api/http"),
            (Some("shop.example"), "/api?x=/api/v2", "shop/api/http"),
            (Some("shop.example"), "/apix", "shop/web/http"),
            (Some("shop.example"), "/api/v2", "shop/v2/http"),
            (Some("shop.example"), "/api/v2/a/b", "shop/v2/http"),
            (Some("shop.example"), "/api/v22", "shop/api/http"),
            (Some("blog.example"), "/posts/1", "blog/web/http"),
            (Some("blog.example"), "/other", "main/any/http"),
            (Some("[::1]:8080"), "/", "main/any/http"),
            (Some("127.0.0.1:8080"), "*", "main/any/http"),
            (None, "/api", "main/any/http"),
        ] {
            assert_eq!(table.http(host, path).map(String::as_str), Some(expected), "{host:?} {path}");
        }
        assert_eq!(built(&[http("shop/api/http", None, "/api")]).http(Some("x"), "/"), None);
        assert_eq!(table.conflicts(), []);
    }

    #[test]
    fn who_has_what_two_routes_claim_does_not_depend_on_the_order_of_arrival() {
        let routes = [
            http("zoo/api/http", Some("x.example"), "/api/"),
            http("ant/api/http", Some("X.example"), "/api"),
            http("ant/api/http2", Some("x.example"), "/"),
            route("db1/sql/tcp", Protocol::Tcp, None, "/", 5432),
            route("db2/sql/tcp", Protocol::Tcp, None, "/", 5432),
        ];
        let table = built(&routes);
        let mut backwards = routes.clone();
        backwards.reverse();
        assert_eq!(built(&backwards), table);
        assert_eq!(table.http(Some("x.example"), "/api").map(String::as_str), Some("ant/api/http"));
        assert_eq!(table.ports().get(&5432).map(String::as_str), Some("db1/sql/tcp"));
        let conflicts: Vec<_> = table.conflicts().iter().map(ToString::to_string).collect();
        assert_eq!(
            conflicts,
            [
                "db2/sql/tcp claims port 5432, which db1/sql/tcp has",
                "zoo/api/http claims x.example/api/, which ant/api/http has",
            ]
        );
    }
}
