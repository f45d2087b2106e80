//! The kernel's side: looks at what is there, and does single steps. It decides nothing and retries nothing.

use crate::namespace::{self, Namespaces};
use crate::nft::{self, NftError};
use crate::routes::Routes;
use futures::TryStreamExt;
use ipnet::Ipv4Net;
use orlop_model::ReplicaId;
use orlop_overlay_core::{
    Bridge, Desired, Inside, Instance, Interface, Observed, Port, Step, foreign_rules, own_rules,
};
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::{Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// The switch for forwarding IPv4 packets between interfaces.
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// What went wrong in the kernel.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A netlink request was refused.
    #[error("could not {doing}: {message}")]
    Netlink {
        /// What was tried.
        doing: String,
        /// What the kernel said.
        message: String,
    },
    /// A file or a namespace could not be reached.
    #[error("could not {doing}")]
    Io {
        /// What was tried.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// nftables.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// Something that a step builds on is not there.
    #[error("{0} is not there")]
    Missing(String),
}

fn io_error(doing: impl fmt::Display) -> impl FnOnce(io::Error) -> NetworkError {
    move |source| NetworkError::Io { doing: doing.to_string(), source }
}

pub(crate) fn netlink_error(doing: impl fmt::Display) -> impl FnOnce(rtnetlink::Error) -> NetworkError {
    move |error| {
        let message = match error {
            rtnetlink::Error::NetlinkError(refused) => refused.to_io().to_string(),
            other => other.to_string(),
        };
        NetworkError::Netlink { doing: doing.to_string(), message }
    }
}

/// The rules as they were last written, and how nft printed them afterwards. Comparing the print with a later one finds
/// whatever somebody changed, in the words of whichever version of nft is installed.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Written {
    wanted: String,
    printed: String,
}

/// One instance's part of the kernel.
#[derive(Debug)]
pub struct Network {
    instance: Instance,
    namespace_dir: PathBuf,
    /// Where [`Written`] is kept.
    written: PathBuf,
    netlink: Handle,
    routes: Routes,
    namespaces: Namespaces,
}

impl Network {
    /// Opens the way into the kernel; changes nothing but for making `<run_dir>/netns`.
    pub fn open(instance: Instance, run_dir: &Path) -> Result<Self, NetworkError> {
        let namespace_dir = run_dir.join("netns");
        std::fs::create_dir_all(&namespace_dir)
            .map_err(io_error(format_args!("make the directory {}", namespace_dir.display())))?;
        let (connection, netlink, _) = rtnetlink::new_connection().map_err(io_error("open a netlink socket"))?;
        tokio::spawn(connection);
        let namespaces = Namespaces::start().map_err(io_error("start the thread for network namespaces"))?;
        let routes = Routes::new(netlink.clone(), instance.metric());
        Ok(Self { instance, namespace_dir, written: run_dir.join("rules.json"), netlink, routes, namespaces })
    }

    /// The path of a replica's namespace.
    pub fn namespace_path(&self, replica: ReplicaId) -> PathBuf {
        self.namespace_dir.join(replica.to_string())
    }

    /// Is there a namespace of this replica, and not only the name that one would have?
    pub fn has_namespace(&self, replica: ReplicaId) -> bool {
        namespace::is_namespace(&self.namespace_path(replica))
    }

    /// The replicas that have a namespace, or the name of one.
    pub fn replicas(&self) -> Result<BTreeSet<ReplicaId>, NetworkError> {
        let doing = || io_error(format!("list {}", self.namespace_dir.display()));
        let mut found = BTreeSet::new();
        let entries = match std::fs::read_dir(&self.namespace_dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            entries => entries.map_err(doing())?,
        };
        for entry in entries {
            let entry = entry.map_err(doing())?;
            if let Some(replica) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                found.insert(replica);
            }
        }
        Ok(found)
    }

    // --- looking ---

    /// The addresses of the bridge; `None` without a bridge.
    pub async fn bridge(&self) -> Result<Option<Bridge>, NetworkError> {
        let Some(link) = find_link(&self.netlink, self.instance.bridge()).await? else { return Ok(None) };
        let addresses = addresses(&self.netlink, link.header.index).await?;
        Ok(Some(Bridge { up: is_up(&link), addresses }))
    }

    /// What all replicas share, as far as `desired` needs it.
    pub async fn observe_node(&self, desired: &Desired) -> Result<Observed, NetworkError> {
        let forwarding = std::fs::read_to_string(FORWARDING).map_err(io_error(format_args!("read {FORWARDING}")))?;
        Ok(Observed {
            forwarding: forwarding.trim() != "0",
            bridge: self.bridge().await?,
            rules_right: self.rules_are_right(desired).await?,
            routes: self.routes.list().await?,
            ..Observed::default()
        })
    }

    async fn rules_are_right(&self, desired: &Desired) -> Result<bool, NetworkError> {
        let Some(printed) = nft::own_table(&self.instance).await? else { return Ok(false) };
        let wanted = own_rules(&self.instance, desired.subnet, &desired.peers);
        let written: Option<Written> =
            std::fs::read(&self.written).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if written != Some(Written { wanted, printed }) {
            return Ok(false);
        }
        Ok(self.missing_foreign_rules().await?.is_empty())
    }

    /// The commands that would let our packets pass the chains of others that drop them by policy.
    async fn missing_foreign_rules(&self) -> Result<Vec<String>, NftError> {
        let mut commands = Vec::new();
        for chain in nft::closed_chains(&self.instance).await? {
            let present: BTreeSet<_> = nft::rules_of(&chain).await?.into_iter().filter_map(|r| r.comment).collect();
            let missing = foreign_rules(&self.instance).into_iter().filter(|(_, mark)| !present.contains(mark));
            commands.extend(missing.map(|(rule, mark)| {
                format!("insert rule {} {} {} {rule} comment \"{mark}\"\n", chain.family, chain.table, chain.name)
            }));
        }
        Ok(commands)
    }

    /// What the kernel holds of one replica, added to `observed`.
    pub async fn observe_replica(&self, observed: &mut Observed, replica: ReplicaId) -> Result<(), NetworkError> {
        let path = self.namespace_path(replica);
        if namespace::is_namespace(&path) {
            let inside = self.observe_inside(replica).await?;
            observed.namespaces.insert(replica, inside);
        }
        let name = self.instance.port(replica);
        if let Some(port) = find_link(&self.netlink, &name).await? {
            let bridge = find_link(&self.netlink, self.instance.bridge()).await?;
            let on_bridge = bridge.is_some_and(|bridge| controller(&port) == Some(bridge.header.index));
            observed.ports.insert(name, Port { up: is_up(&port), on_bridge });
        }
        Ok(())
    }

    /// What is inside a replica's namespace.
    pub async fn observe_inside(&self, replica: ReplicaId) -> Result<Inside, NetworkError> {
        let netlink = self.enter(replica).await?;
        let loopback = find_link(&netlink, "lo").await?;
        let eth0 = match find_link(&netlink, "eth0").await? {
            Some(link) => {
                Some(Interface { up: is_up(&link), addresses: addresses(&netlink, link.header.index).await? })
            }
            None => None,
        };
        let mut routes = netlink.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
        let mut default_route = None;
        while let Some(route) = routes.try_next().await.map_err(netlink_error("list routes"))? {
            default_route = default_route.or_else(|| default_gateway(&route));
        }
        Ok(Inside { loopback_up: loopback.is_some_and(|link| is_up(&link)), eth0, default_route })
    }

    /// A netlink socket in a replica's namespace.
    async fn enter(&self, replica: ReplicaId) -> Result<Handle, NetworkError> {
        let runtime = tokio::runtime::Handle::current();
        let (connection, netlink, _) = self
            .namespaces
            .within(self.namespace_path(replica), move || {
                // Registers the socket with the runtime although this thread is none of its own.
                let _runtime = runtime.enter();
                rtnetlink::new_connection()
            })
            .await
            .map_err(io_error(format_args!("enter the network namespace of {replica}")))?;
        tokio::spawn(connection);
        Ok(netlink)
    }

    // --- doing ---

    /// Does one step.
    pub async fn execute(&self, desired: &Desired, step: &Step) -> Result<(), NetworkError> {
        let bridge = self.instance.bridge();
        match step {
            Step::EnableForwarding => {
                std::fs::write(FORWARDING, "1").map_err(io_error(format_args!("write {FORWARDING}")))
            }
            Step::MakeBridge { mac } => {
                let request = self.netlink.link().add(LinkBridge::new(bridge).address(mac.to_vec()).build());
                request.execute().await.map_err(netlink_error(format_args!("make the bridge {bridge}")))
            }
            Step::AddBridgeAddress(address) => add_address(&self.netlink, bridge, *address).await,
            Step::RemoveBridgeAddress(address) => remove_address(&self.netlink, bridge, *address).await,
            Step::RaiseBridge => raise(&self.netlink, bridge).await,
            Step::WriteRules => self.write_rules(desired).await,
            Step::MakeNamespace(replica) => {
                let path = self.namespace_path(*replica);
                let made = self.namespaces.make(path.clone()).await;
                made.map_err(io_error(format_args!("make the network namespace {}", path.display())))
            }
            Step::RemovePort(port) => remove_link(&self.netlink, port).await,
            Step::RemoveEth0(replica) => remove_link(&self.enter(*replica).await?, "eth0").await,
            Step::MakePair { replica, port, mac } => self.make_pair(*replica, port, *mac).await,
            Step::PlugPort(port) => {
                let bridge = need_link(&self.netlink, bridge).await?;
                let plug = LinkUnspec::new_with_name(port).controller(bridge.header.index).up().build();
                let plugged = self.netlink.link().set(plug).execute().await;
                plugged.map_err(netlink_error(format_args!("put {port} on the bridge")))
            }
            Step::RaiseLoopback(replica) => raise(&self.enter(*replica).await?, "lo").await,
            Step::RemoveAddress(replica, address) => {
                remove_address(&self.enter(*replica).await?, "eth0", *address).await
            }
            Step::AddAddress(replica, address) => add_address(&self.enter(*replica).await?, "eth0", *address).await,
            Step::RaiseEth0(replica) => raise(&self.enter(*replica).await?, "eth0").await,
            Step::SetDefaultRoute(replica, gateway) => {
                let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(*gateway).build();
                let set = self.enter(*replica).await?.route().add(route).replace().execute().await;
                set.map_err(netlink_error(format_args!("set the default route of {replica}")))
            }
            Step::SetRoute(subnet, via) => self.routes.set(*subnet, *via).await,
            Step::RemoveRoute(subnet) => self.routes.remove(*subnet).await,
        }
    }

    async fn make_pair(&self, replica: ReplicaId, port: &str, mac: [u8; 6]) -> Result<(), NetworkError> {
        let path = self.namespace_path(replica);
        let namespace = File::open(&path).map_err(io_error(format_args!("open {}", path.display())))?;
        let bridge = need_link(&self.netlink, self.instance.bridge()).await?;
        let eth0 = LinkMessageBuilder::<LinkUnspec>::new()
            .name("eth0")
            .address(mac.to_vec())
            .setns_by_fd(namespace.as_raw_fd())
            .build();
        // One request, so that there is no moment at which half a pair exists. The kernel cannot bring the far end up
        // yet.
        let pair = LinkVeth::new(port, "eth0")
            .set_info_data(InfoData::Veth(InfoVeth::Peer(eth0)))
            .controller(bridge.header.index)
            .up()
            .build();
        let made = self.netlink.link().add(pair).execute().await;
        made.map_err(netlink_error(format_args!("make the interfaces of {replica}")))
    }

    async fn write_rules(&self, desired: &Desired) -> Result<(), NetworkError> {
        let wanted = own_rules(&self.instance, desired.subnet, &desired.peers);
        let foreign = self.missing_foreign_rules().await?;
        if !foreign.is_empty() {
            tracing::info!(rules = ?foreign, "another table drops forwarded packets by policy: letting ours pass");
        }
        nft::apply(&format!("{wanted}{}", foreign.concat())).await?;
        let printed = nft::own_table(&self.instance).await?.unwrap_or_default();
        let written = serde_json::to_vec(&Written { wanted, printed }).unwrap_or_default();
        orlop_follower::write_whole(&self.written, &written)
            .map_err(io_error(format_args!("write {}", self.written.display())))
    }

    /// Takes away all that a replica has. Nothing there is no error.
    pub async fn remove_replica(&self, replica: ReplicaId) -> Result<(), NetworkError> {
        remove_link(&self.netlink, &self.instance.port(replica)).await?;
        // The name goes last: until then the replica is found again by whoever comes after a crash.
        let path = self.namespace_path(replica);
        namespace::remove(&path).map_err(io_error(format_args!("remove the network namespace {}", path.display())))
    }

    /// Takes away all that the instance has: replicas, rules, routes, bridge. Nothing there is no error.
    pub async fn remove_all(&self) -> Result<(), NetworkError> {
        for replica in self.replicas()? {
            self.remove_replica(replica).await?;
        }
        let mut script = String::new();
        if nft::own_table(&self.instance).await?.is_some() {
            script.push_str(&format!("delete table inet {}\n", self.instance.table()));
        }
        let marks: BTreeMap<String, String> =
            foreign_rules(&self.instance).into_iter().map(|(rule, mark)| (mark, rule)).collect();
        for chain in nft::closed_chains(&self.instance).await? {
            let ours = nft::rules_of(&chain)
                .await?
                .into_iter()
                .filter(|rule| rule.comment.as_ref().is_some_and(|comment| marks.contains_key(comment)));
            script.extend(ours.map(|rule| {
                format!("delete rule {} {} {} handle {}\n", rule.family, rule.table, rule.chain, rule.handle)
            }));
        }
        if !script.is_empty() {
            nft::apply(&script).await?;
        }
        for subnet in self.routes.list().await?.keys() {
            self.routes.remove(*subnet).await?;
        }
        remove_link(&self.netlink, self.instance.bridge()).await?;
        let gone = |removed: io::Result<()>, path: &Path| match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error(format_args!("remove {}", path.display()))(error))
            }
            _ => Ok(()),
        };
        gone(std::fs::remove_file(&self.written), &self.written)?;
        gone(std::fs::remove_dir(&self.namespace_dir), &self.namespace_dir)
    }
}

fn is_up(link: &LinkMessage) -> bool {
    link.header.flags.contains(LinkFlags::Up)
}

fn controller(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Controller(index) => Some(*index),
        _ => None,
    })
}

fn default_gateway(route: &RouteMessage) -> Option<Ipv4Addr> {
    let gateway = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(address)) => Some(*address),
        _ => None,
    });
    gateway.filter(|_| route.header.destination_prefix_length == 0)
}

/// Finds an interface by name.
async fn find_link(netlink: &Handle, name: &str) -> Result<Option<LinkMessage>, NetworkError> {
    match netlink.link().get().match_name(name).execute().try_next().await {
        Ok(found) => Ok(found),
        Err(rtnetlink::Error::NetlinkError(refused)) if refused.raw_code() == -nix::libc::ENODEV => Ok(None),
        Err(error) => Err(netlink_error(format_args!("look for the interface {name}"))(error)),
    }
}

async fn need_link(netlink: &Handle, name: &str) -> Result<LinkMessage, NetworkError> {
    find_link(netlink, name).await?.ok_or_else(|| NetworkError::Missing(format!("the interface {name}")))
}

/// Removes an interface. The kernel removes a pair by itself, some time after its namespace is gone: no error.
async fn remove_link(netlink: &Handle, name: &str) -> Result<(), NetworkError> {
    let Some(link) = find_link(netlink, name).await? else { return Ok(()) };
    match netlink.link().del(link.header.index).execute().await {
        Err(rtnetlink::Error::NetlinkError(refused)) if refused.raw_code() == -nix::libc::ENODEV => Ok(()),
        removed => removed.map_err(netlink_error(format_args!("remove the interface {name}"))),
    }
}

async fn raise(netlink: &Handle, name: &str) -> Result<(), NetworkError> {
    let raised = netlink.link().set(LinkUnspec::new_with_name(name).up().build()).execute().await;
    raised.map_err(netlink_error(format_args!("bring {name} up")))
}

/// The IPv4 addresses of an interface.
async fn addresses(netlink: &Handle, index: u32) -> Result<BTreeSet<Ipv4Net>, NetworkError> {
    let mut found = BTreeSet::new();
    let mut messages = netlink.address().get().set_link_index_filter(index).execute();
    while let Some(message) = messages.try_next().await.map_err(netlink_error("list addresses"))? {
        let local = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
            _ => None,
        });
        if message.header.index == index
            && let Some(net) = local.and_then(|address| Ipv4Net::new(address, message.header.prefix_len).ok())
        {
            found.insert(net);
        }
    }
    Ok(found)
}

async fn add_address(netlink: &Handle, name: &str, address: Ipv4Net) -> Result<(), NetworkError> {
    let link = need_link(netlink, name).await?;
    let request = netlink.address().add(link.header.index, IpAddr::V4(address.addr()), address.prefix_len());
    request.execute().await.map_err(netlink_error(format_args!("give {name} the address {address}")))
}

async fn remove_address(netlink: &Handle, name: &str, address: Ipv4Net) -> Result<(), NetworkError> {
    let link = need_link(netlink, name).await?;
    let message = rtnetlink::AddressMessageBuilder::<Ipv4Addr>::new()
        .index(link.header.index)
        .address(address.addr(), address.prefix_len())
        .build();
    let removed = netlink.address().del(message).execute().await;
    removed.map_err(netlink_error(format_args!("take the address {address} from {name}")))
}
