//! More than there is room for: others are served all the same.

use crate::identity::{Bearer, client, login_of, node_token, put_operator};
use crate::world::*;
use orlop_client::{Address, IdentityDirectory, Joining};
use orlop_control::Listen;
use orlop_identity::token::{JoinToken, Login};
use orlop_model::{NodeId, View};
use orlop_proto::identity::v1 as pb;
use orlop_proto::watch::v1 as watch;
use pb::identity_service_client::IdentityServiceClient;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tonic::Code;
use watch::watch_service_client::WatchServiceClient;

/// Connections from one address that say nothing.
async fn silent(to: SocketAddr, from: u8, count: usize) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for _ in 0..count {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((Ipv4Addr::new(127, 0, 0, from), 0).into()).expect("an address");
        open.push(socket.connect(to).await.expect("the kernel takes it"));
    }
    open
}

/// Waits until all but so many were closed by the other side.
async fn closed_but(open: &mut Vec<TcpStream>, left: usize) {
    let closing = async {
        while open.len() > left {
            let mut still = Vec::new();
            for mut stream in open.drain(..) {
                let read = tokio::time::timeout(std::time::Duration::from_millis(1), stream.read_u8()).await;
                if read.is_err() {
                    still.push(stream);
                }
            }
            *open = still;
        }
    };
    tokio::time::timeout(PATIENCE, closing).await.expect("they are closed");
    assert_eq!(open.len(), left, "these had room");
}

#[tokio::test]
async fn strangers_keep_nobody_out_who_is_known() {
    let tls = Listen::Tls(([127, 0, 0, 1], 0).into());
    let world = World::start_with(|config| {
        config.listen.push(tls);
        config.connections_max = 40;
    })
    .await;
    let mut client = client(&world);
    let token: JoinToken = node_token(&mut client, 1).await.parse().expect("a token");
    let joined = orlop_client::join(&[world.tls()], &token, &Joining::Node(NodeId::from_u128(7))).await;
    let directory = IdentityDirectory::new(world.folder().join("node"));
    joined.expect("it joins").keep(&directory).expect("kept");
    directory.write_members(&[world.tls()]).expect("written");
    let Some(Listen::Tls(to)) = world.listening().last() else { panic!("{:?}", world.listening()) };

    let mut open = silent(*to, 2, 10).await;
    closed_but(&mut open, 2).await;
    // More than strangers may have, from many addresses; all that may shake hands are they not.
    for from in 3..30 {
        open.extend(silent(*to, from, 1).await);
    }
    let node = Address::Joined(directory.path().to_owned()).channel().expect("a channel");
    let mut node = IdentityServiceClient::new(node);
    node.who_am_i(pb::WhoAmIRequest {}).await.expect("it is let in");
    // Once it is in, it takes no room of theirs.
    open.extend(futures::future::join_all((30..50).map(|from| silent(*to, from, 2))).await.into_iter().flatten());
    node.who_am_i(pb::WhoAmIRequest {}).await.expect("it stays");
    client.who_am_i(pb::WhoAmIRequest {}).await.expect("the machine's own socket has its own room");
    // Who does not shake hands is not waited for.
    closed_but(&mut open, 0).await;
}

#[tokio::test]
async fn one_operator_does_not_take_all_watches() {
    let world = World::start_with(|config| {
        config.listen.push(Listen::Loopback(([127, 0, 0, 1], 0).into()));
        config.watchers_max = 30;
    })
    .await;
    let mut client = client(&world);
    put_operator(&mut client, pb::Role::Viewer).await;
    let token = login_of(&mut client).await.login.parse::<Login>().expect("a login").token;
    let mut anna = WatchServiceClient::with_interceptor(world.loopback(), Bearer(token));
    let view = View::Events(Some("shop-eu".parse().expect("a name")));
    let request = || watch::WatchRequest { view: Some((&view).into()), since: 0, cluster: String::new() };
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(anna.watch(request()).await.expect("a watch").into_inner());
    }
    let refused = anna.watch(request()).await.expect_err("that is a tenth");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    let mut others = Vec::new();
    for _ in 0..27 {
        others.push(world.watch(View::Mesh, None).await);
    }
    let all = WatchServiceClient::new(world.channel()).watch(request()).await.expect_err("that is all");
    assert_eq!(all.code(), Code::ResourceExhausted, "{all}");
    drop(open);
    let again = async { while anna.watch(request()).await.is_err() {} };
    tokio::time::timeout(PATIENCE, again).await.expect("there is room again");
}
