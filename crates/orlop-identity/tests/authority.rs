//! The authority: what it issues, and what it does not.

#![expect(
    clippy::unwrap_used,
    reason = "what may be assumed of a peer is the matter of the lint; a test that assumes wrongly fails"
)]

use orlop_identity::authority::{AUTHORITY_LIFETIME, Addresses, AuthorityError, InvalidRequest, PrivateKey, PublicKey};
use orlop_identity::{Authority, AuthorityCertificate, Identity, PeerCertificate};
use orlop_model::trust::CERTIFICATE_LIFETIME;
use orlop_model::{ClusterId, MemberId, NodeId, Timestamp};
use ring::rand::SystemRandom;
use x509_parser::prelude::{FromDer, X509Certificate};

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const CLUSTER: ClusterId = ClusterId::from_u128(7);

fn authority() -> Authority {
    Authority::make(CLUSTER, NOW, &SystemRandom::new()).unwrap()
}

#[test]
fn an_authority_is_restored_from_its_certificate_and_its_key_only() {
    let made = authority();
    let key = PrivateKey::read(made.key().der()).unwrap();
    let restored = Authority::restore(made.certificate().der(), key).unwrap();
    assert_eq!(restored.certificate(), made.certificate());
    assert_eq!(restored.certificate().cluster(), CLUSTER);
    assert_eq!(restored.certificate().not_after(), NOW + AUTHORITY_LIFETIME);

    let other = PrivateKey::generate().unwrap();
    let refused = Authority::restore(made.certificate().der(), other);
    assert!(matches!(refused, Err(AuthorityError::OtherKey)));
    let leaf = issue(&made, Identity::Member { cluster: CLUSTER, member: MemberId(1) }, &Addresses::default()).unwrap();
    assert!(AuthorityCertificate::read(&leaf).is_err());
    assert!(PrivateKey::read(b"no key").is_err());
    assert!(!format!("{made:?} {:?}", made.key()).contains(&format!("{:?}", &made.key().der()[40..50])));
}

#[test]
fn the_certificate_of_an_authority_signs_leaves_and_nothing_else() {
    let authority = authority();
    let der = authority.certificate().der().clone();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let basic = certificate.basic_constraints().unwrap().unwrap();
    assert!(basic.critical && basic.value.ca);
    assert_eq!(basic.value.path_len_constraint, Some(0));
    let usage = certificate.key_usage().unwrap().unwrap().value;
    assert!(usage.key_cert_sign() && !usage.digital_signature());
    certificate.verify_signature(None).unwrap();
}

fn issue(
    authority: &Authority,
    identity: Identity,
    addresses: &Addresses,
) -> Result<rustls::pki_types::CertificateDer<'static>, AuthorityError> {
    let key = PrivateKey::generate().unwrap().public();
    authority.issue(&key, identity, addresses, CERTIFICATE_LIFETIME, NOW, &SystemRandom::new())
}

#[test]
fn a_leaf_has_one_identity_its_addresses_and_the_uses_of_its_kind() {
    let authority = authority();
    let addresses = Addresses {
        ips: vec!["10.1.2.3".parse().unwrap(), "fd00::1".parse().unwrap()],
        names: vec!["a.example".into()],
    };
    for (identity, server) in [
        (Identity::Member { cluster: CLUSTER, member: MemberId(4) }, true),
        (Identity::Node { cluster: CLUSTER, node: NodeId::from_u128(1) }, false),
    ] {
        let der = issue(&authority, identity, &addresses).unwrap();
        assert_eq!(PeerCertificate::read(&der).unwrap().identity, identity);
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert_eq!((usage.server_auth, usage.client_auth), (server, true));
        let names = certificate.subject_alternative_name().unwrap().unwrap().value.general_names.len();
        assert_eq!(names, 4);
        assert!(!certificate.is_ca());
    }
    let other = Identity::Node { cluster: ClusterId::from_u128(8), node: NodeId::from_u128(1) };
    assert!(matches!(issue(&authority, other, &addresses), Err(AuthorityError::OtherCluster { .. })));
    let member = Identity::Member { cluster: CLUSTER, member: MemberId(1) };
    for name in ["", "a b", "ü.example", "orlop://x", &"a".repeat(300)] {
        let addresses = Addresses { ips: vec![], names: vec![name.to_owned()] };
        assert!(matches!(issue(&authority, member, &addresses), Err(AuthorityError::Name(_))), "{name:?}");
    }
}

#[test]
fn a_request_proves_that_who_asks_has_the_key() {
    let key = PrivateKey::generate().unwrap();
    let request = key.request().unwrap();
    assert_eq!(PublicKey::of_request(&request).unwrap(), key.public());
    for at in 0..request.len() {
        let mut wrong = request.clone();
        wrong[at] ^= 1;
        // Some bits do not matter to the key or the signature; then it is still the same key.
        if let Ok(read) = PublicKey::of_request(&wrong) {
            assert_eq!(read, key.public(), "at {at}");
        }
    }
    assert!(matches!(PublicKey::of_request(&vec![0x30; 5000]), Err(InvalidRequest::TooLong(5000))));
    assert!(matches!(PublicKey::of_request(b""), Err(InvalidRequest::Unreadable(_))));

    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&pair).unwrap();
    assert_eq!(PublicKey::of_request(request.der()), Err(InvalidRequest::OtherAlgorithm));
}
