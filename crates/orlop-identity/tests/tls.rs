//! Handshakes in memory, with a clock of their own: who is believed, and who is not.

#![expect(
    clippy::unwrap_used,
    reason = "what may be assumed of a peer is the matter of the lint; a test that assumes wrongly fails"
)]

use orlop_identity::authority::{Addresses, PrivateKey};
use orlop_identity::tls::{Credentials, Expected, client_config, joining_config, server_config};
use orlop_identity::{Authority, Identity, PeerCertificate, ProgramRole};
use orlop_model::trust::{CERTIFICATE_LIFETIME, Digest, RENEWAL_GRACE};
use orlop_model::{ClusterId, MemberId, Millis, NodeId, Timestamp};
use ring::rand::SystemRandom;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use std::sync::Arc;
use std::time::Duration;

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const CLUSTER: ClusterId = ClusterId::from_u128(7);

#[derive(Debug)]
struct Clock(Timestamp);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(self.0.0)))
    }
}

fn authority(cluster: ClusterId) -> Authority {
    Authority::make(cluster, NOW, &SystemRandom::new()).unwrap()
}

fn member(member: u64) -> Identity {
    Identity::Member { cluster: CLUSTER, member: MemberId(member) }
}

fn node() -> Identity {
    Identity::Node { cluster: CLUSTER, node: NodeId::from_u128(3) }
}

fn credentials(authority: &Authority, identity: Identity) -> Credentials {
    let (leaf, key) = leaf(authority, identity);
    Credentials::new(&leaf, authority.certificate().der(), &key).unwrap()
}

fn leaf(authority: &Authority, identity: Identity) -> (rustls::pki_types::CertificateDer<'static>, PrivateKey) {
    let key = PrivateKey::generate().unwrap();
    let public = orlop_identity::authority::PublicKey::of_request(&key.request().unwrap()).unwrap();
    let (addresses, random) = (Addresses::default(), SystemRandom::new());
    (authority.issue(&public, identity, &addresses, CERTIFICATE_LIFETIME, NOW, &random).unwrap(), key)
}

/// What the server learns of the client, or the first error of either side.
fn handshake(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
    now: Timestamp,
) -> Result<Option<PeerCertificate>, String> {
    let (mut server, mut client) = ((**server).clone(), (**client).clone());
    server.time_provider = Arc::new(Clock(now));
    client.time_provider = Arc::new(Clock(now));
    // The name is of no concern: members are known by their identity.
    let name = ServerName::try_from("wherever.example").unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    for _ in 0..10 {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut &bytes[..]).unwrap();
        let accepted = server.process_new_packets().map(drop);
        let mut bytes = Vec::new();
        server.write_tls(&mut bytes).unwrap();
        accepted.map_err(|e| format!("server: {e}"))?;
        client.read_tls(&mut &bytes[..]).unwrap();
        client.process_new_packets().map_err(|e| format!("client: {e}"))?;
        if !client.is_handshaking() && !server.is_handshaking() && !client.wants_write() {
            assert_eq!(server.alpn_protocol(), Some(&b"h2"[..]));
            let leaf = server.peer_certificates().and_then(|chain| chain.first());
            return Ok(leaf.map(|leaf| PeerCertificate::read(leaf).unwrap()));
        }
    }
    panic!("the handshake does not end");
}

#[track_caller]
fn refused(result: Result<Option<PeerCertificate>, String>, why: &str) {
    let problem = result.expect_err(why);
    assert!(problem.contains(why), "{problem:?} does not say {why:?}");
}

struct World {
    authority: Authority,
    server: Arc<ServerConfig>,
}

fn world() -> World {
    let authority = authority(CLUSTER);
    let server = server_config(authority.certificate().clone(), credentials(&authority, member(1))).unwrap();
    World { authority, server }
}

fn client_of(authority: &Authority, identity: Option<Identity>, expected: Expected) -> Arc<ClientConfig> {
    let credentials = identity.map(|identity| credentials(authority, identity));
    client_config(authority.certificate().clone(), credentials, expected).unwrap()
}

#[test]
fn a_client_is_known_by_its_certificate_and_may_have_none() {
    let world = world();
    for identity in [member(2), node(), Identity::Role { cluster: CLUSTER, role: ProgramRole::Scheduler }]
        .map(Some)
        .into_iter()
        .chain([None])
    {
        let client = client_of(&world.authority, identity, Expected::AnyMember);
        let peer = handshake(&world.server, &client, NOW).unwrap();
        assert_eq!(peer.as_ref().map(|peer| peer.identity), identity);
        if let Some(peer) = peer {
            assert_eq!(peer.not_before, Timestamp(NOW.0 - 300_000));
            assert_eq!(peer.not_after, NOW + CERTIFICATE_LIFETIME);
            assert_eq!(peer.serial.len(), 32);
        }
    }
}

#[test]
fn a_client_of_another_cluster_is_refused() {
    let world = world();
    // The other authority claims to be of the same cluster.
    let other = authority(CLUSTER);
    let forged = credentials(&other, node());
    let client = client_config(world.authority.certificate().clone(), Some(forged), Expected::AnyMember).unwrap();
    refused(handshake(&world.server, &client, NOW), "server: invalid peer certificate");
}

#[test]
fn a_server_is_a_member_of_the_cluster_or_nothing() {
    let world = world();
    let any = client_of(&world.authority, None, Expected::AnyMember);
    let second = client_of(&world.authority, None, Expected::Member(MemberId(2)));
    assert_eq!(handshake(&world.server, &any, NOW), Ok(None));
    refused(handshake(&world.server, &second, NOW), "OtherMember");

    let other = authority(CLUSTER);
    let server = server_config(other.certificate().clone(), credentials(&other, member(1))).unwrap();
    refused(handshake(&server, &any, NOW), "client: invalid peer certificate");

    // A node's certificate, in the wrong hands, makes no control plane.
    let server = server_config(world.authority.certificate().clone(), credentials(&world.authority, node())).unwrap();
    refused(handshake(&server, &any, NOW), "client: invalid peer certificate");
}

#[test]
fn who_joins_believes_the_pinned_authority_only() {
    let world = world();
    let pinned = joining_config(world.authority.certificate().fingerprint()).unwrap();
    assert_eq!(handshake(&world.server, &pinned, NOW), Ok(None));
    for fingerprint in [Digest::default(), authority(CLUSTER).certificate().fingerprint()] {
        let pinned = joining_config(fingerprint).unwrap();
        refused(handshake(&world.server, &pinned, NOW), "OtherAuthority");
    }
    // A server that sends the pinned authority along with a leaf of another is an impostor.
    let other = authority(CLUSTER);
    let (leaf, key) = leaf(&other, member(1));
    let impostor = Credentials::new(&leaf, world.authority.certificate().der(), &key).unwrap();
    let server = server_config(other.certificate().clone(), impostor).unwrap();
    refused(handshake(&server, &pinned, NOW), "Chain");
    // So is one that pins a leaf as if it were an authority.
    let pinned = joining_config(Digest::of(&leaf)).unwrap();
    let server = server_config(other.certificate().clone(), Credentials::new(&leaf, &leaf, &key).unwrap()).unwrap();
    refused(handshake(&server, &pinned, NOW), "Invalid");
}

#[test]
fn a_client_whose_certificate_has_ended_is_let_in_to_renew_it_for_thirty_days() {
    let world = world();
    let client = client_of(&world.authority, Some(node()), Expected::AnyMember);
    let end = NOW + CERTIFICATE_LIFETIME;
    // The server's own certificate must be good.
    let at = |now: Timestamp| {
        let (key, random) = (PrivateKey::generate().unwrap(), SystemRandom::new());
        let leaf =
            world.authority.issue(&key.public(), member(1), &Addresses::default(), CERTIFICATE_LIFETIME, now, &random);
        let fresh = Credentials::new(&leaf.unwrap(), world.authority.certificate().der(), &key).unwrap();
        let server = server_config(world.authority.certificate().clone(), fresh).unwrap();
        handshake(&server, &client, now)
    };
    for (now, expired) in [(end, false), (end + Millis(1000), true), (end + RENEWAL_GRACE, true)] {
        let peer = at(now).unwrap().unwrap();
        assert_eq!((peer.identity, peer.expired(now)), (node(), expired));
    }
    refused(at(end + RENEWAL_GRACE + Millis(1000)), "Ended");
    // One that has not begun is not good either.
    refused(at(Timestamp(NOW.0 - 301_000)), "Chain");
}

#[test]
fn a_server_whose_certificate_has_ended_is_refused() {
    let world = world();
    let client = client_of(&world.authority, None, Expected::AnyMember);
    assert_eq!(handshake(&world.server, &client, NOW + CERTIFICATE_LIFETIME), Ok(None));
    refused(handshake(&world.server, &client, NOW + CERTIFICATE_LIFETIME + Millis(1000)), "Chain");
}

#[test]
fn a_renewed_certificate_is_shown_from_the_next_connection_on() {
    let world = world();
    let shown = credentials(&world.authority, node());
    let client =
        client_config(world.authority.certificate().clone(), Some(shown.clone()), Expected::AnyMember).unwrap();
    let before = handshake(&world.server, &client, NOW).unwrap().unwrap();
    let (renewed, key) = leaf(&world.authority, node());
    shown.replace(&renewed, world.authority.certificate().der(), &key).unwrap();
    let after = handshake(&world.server, &client, NOW).unwrap().unwrap();
    assert_ne!(before.serial, after.serial);
    assert_eq!(shown.certificate(), after);
    // A key that does not fit changes nothing.
    let other = PrivateKey::generate().unwrap();
    assert!(shown.replace(&renewed, world.authority.certificate().der(), &other).is_err());
    assert_eq!(shown.certificate(), after);
}
