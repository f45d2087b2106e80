//! `join`.

use crate::args::JoinArgs;
use crate::context::Context;
use crate::failure::{FAILED, Failure};
use orlop_client::{Address, HostPort, IdentityDirectory, Joining, PORT_DEFAULT};
use orlop_control::Home;
use orlop_identity::ClusterKey;
use orlop_identity::token::JoinToken;
use orlop_model::trust::JoinKind;
use serde::Serialize;
use std::net::{ToSocketAddrs, UdpSocket};

/// What became of this machine.
#[derive(Debug, Serialize)]
struct JoinOut {
    identities: Vec<String>,
    members: Vec<String>,
}

/// Lets this machine join a cluster.
pub(crate) async fn join(context: &Context, args: JoinArgs) -> Result<(), Failure> {
    let Address::Members(members) = &args.control_plane else {
        return Err(Failure::usage("join dials other machines: give https://HOST[:PORT]"));
    };
    let tokens: Vec<JoinToken> =
        args.token.iter().map(|text| text.parse()).collect::<Result<_, _>>().map_err(failure_of_token)?;
    let of = |kind| tokens.iter().filter(move |token| token.kind == kind).count();
    if of(JoinKind::Member) > 1 || of(JoinKind::Node) > 1 {
        return Err(Failure::usage("give at most one token for a member (orlop1-m-…) and one for a node (orlop1-n-…)"));
    }
    let (mut text, mut out) = (String::new(), JoinOut { identities: Vec::new(), members: Vec::new() });
    for token in &tokens {
        let joined = match token.kind {
            JoinKind::Member => join_member(&args, members, token).await?,
            JoinKind::Node => {
                let directory = IdentityDirectory::new(&args.identity);
                let joining = Joining::Node(orlop_client::node_id(&args.agent_data_dir).map_err(Failure::of)?);
                let joined = orlop_client::join(members, token, &joining).await.map_err(Failure::of)?;
                joined.keep(&directory).map_err(Failure::of)?;
                joined
            }
        };
        text.push_str(&match token.kind {
            JoinKind::Member => format!("Joined as {}. Start orlop-control-plane here.\n", joined.identity),
            JoinKind::Node => {
                format!("Joined as {}. Start orlop-overlay, orlop-agent and orlop-proxy here.\n", joined.identity)
            }
        });
        out.identities.push(joined.identity.to_string());
        out.members = joined.members.iter().map(ToString::to_string).collect();
    }
    context.print(|| text, out)
}

async fn join_member(
    args: &JoinArgs,
    members: &[HostPort],
    token: &JoinToken,
) -> Result<orlop_client::Joined, Failure> {
    let home = Home::new(&args.control_plane_data_dir);
    if home.is_used().map_err(Failure::of)? {
        let directory = args.control_plane_data_dir.display();
        let message =
            format!("a member lives in {directory} already; give another --control-plane-data-dir, or remove it");
        return Err(Failure::new(FAILED, message));
    }
    let address = match &args.advertise {
        Some(address) => address.clone(),
        None => own_address(members)?,
    };
    let name = match &args.name {
        Some(name) => name.clone(),
        None => orlop_client::host_name().map_err(|invalid| Failure::usage(format!("{invalid}; give --name")))?,
    };
    let joining = Joining::Member { name, address: address.clone() };
    let joined = orlop_client::join(members, token, &joining).await.map_err(Failure::of)?;
    let invalid = || Failure::new(FAILED, "the control plane sent no key of the cluster; are the versions the same?");
    let key: [u8; 32] = joined.cluster_key.as_slice().try_into().map_err(|_| invalid())?;
    let key = ClusterKey::from_bytes(key).map_err(Failure::of)?;
    home.keep_key(&key).map_err(Failure::of)?;
    home.keep_advertise(&address).map_err(Failure::of)?;
    // Last: with it the member is made, and everything else is there.
    joined.keep(home.identity()).map_err(Failure::of)?;
    Ok(joined)
}

/// The address of this machine that the way to the control plane begins at.
fn own_address(members: &[HostPort]) -> Result<HostPort, Failure> {
    let found = members.iter().find_map(|member| {
        let to = (member.host(), member.port()).to_socket_addrs().ok()?.next()?;
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        // Nothing is sent: connecting a datagram socket only looks up the route.
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(to).ok()?;
        let ip = socket.local_addr().ok()?.ip();
        Some(HostPort::from(std::net::SocketAddr::from((ip, PORT_DEFAULT))))
    });
    found.ok_or_else(|| Failure::usage("where do the others reach this machine? Give --advertise HOST[:PORT]"))
}

fn failure_of_token(invalid: orlop_identity::token::InvalidToken) -> Failure {
    Failure::usage(invalid.to_string())
}
