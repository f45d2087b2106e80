use super::*;

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const CLUSTER: ClusterId = ClusterId::from_u128(7);

/// The secret key of RFC 8032, 7.1, test 1.
const SEED: [u8; 32] = [
    0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49, 0xc5,
    0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
];

fn key() -> SigningKey {
    SigningKey::from_seed(SEED).unwrap()
}

fn trusted() -> [TrustedKey; 1] {
    [TrustedKey { key: key().public(), retires_at: None }]
}

fn claims() -> Claims {
    Claims {
        operator: "anna".parse().unwrap(),
        token: OperatorTokenId::from_u128(5),
        issued_at: NOW,
        expires_at: NOW + Millis::from_secs(3600),
    }
}

/// A token with any header and body, signed as it should be.
fn signed(header: &str, body: &str) -> String {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(body));
    let signature = URL_SAFE_NO_PAD.encode(key().pair.sign(text.as_bytes()));
    format!("{text}.{signature}")
}

fn header() -> String {
    format!(r#"{{"alg":"EdDSA","typ":"JWT","kid":"{}"}}"#, key().public().id())
}

fn body(iat: u64, exp: u64) -> String {
    let (token, cluster) = (claims().token, CLUSTER);
    format!(r#"{{"iss":"{cluster}","sub":"anna","jti":"{token}","iat":{iat},"exp":{exp}}}"#)
}

fn refused(token: &str) -> TokenRefused {
    verify(token, CLUSTER, &trusted(), NOW).unwrap_err()
}

#[test]
fn the_public_half_is_that_of_the_rfc() {
    let public = key().public().0.map(|byte| format!("{byte:02x}")).concat();
    assert_eq!(public, "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
}

#[test]
fn a_token_says_what_was_signed() {
    let token = key().sign(CLUSTER, &claims());
    assert_eq!(verify(&token, CLUSTER, &trusted(), NOW), Ok(claims()));
    assert_eq!(token, signed(&header(), &body(NOW.0 / 1000, NOW.0 / 1000 + 3600)));
}

#[test]
fn a_token_ends_when_it_says_give_or_take_a_minute() {
    let token = key().sign(CLUSTER, &claims());
    let at = |now: Timestamp| verify(&token, CLUSTER, &trusted(), now).map(|c| c.operator.to_string());
    let end = claims().expires_at + SKEW;
    assert_eq!(at(Timestamp(end.0 - 1)).as_deref(), Ok("anna"));
    assert_eq!(at(end), Err(TokenRefused::Expired));
    assert_eq!(at(Timestamp(NOW.0 - SKEW.0)).as_deref(), Ok("anna"));
    assert_eq!(at(Timestamp(NOW.0 - SKEW.0 - 1)), Err(TokenRefused::NotYet));
}

#[test]
fn a_header_cannot_choose_how_it_is_checked() {
    let id = key().public().id();
    let good = body(NOW.0 / 1000, NOW.0 / 1000 + 60);
    for wrong in [
        r#"{"alg":"none"}"#.to_owned(),
        format!(r#"{{"alg":"none","typ":"JWT","kid":"{id}"}}"#),
        format!(r#"{{"alg":"HS256","typ":"JWT","kid":"{id}"}}"#),
        format!(r#"{{"alg":"eddsa","typ":"JWT","kid":"{id}"}}"#),
        format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"{id}"}}"#),
        format!(r#"{{"alg":"EdDSA","typ":"JWT","kid":"{id}","crit":["x"]}}"#),
        format!(r#"{{"alg":"EdDSA","typ":"JWT","kid":"{id}","jwk":{{}}}}"#),
        format!(r#"{{"alg":"EdDSA","alg":"EdDSA","typ":"JWT","kid":"{id}"}}"#),
        r#"{"alg":"EdDSA","typ":"JWT"}"#.to_owned(),
        r#"{"alg":"EdDSA","typ":"JWT","kid":"../../etc/passwd"}"#.to_owned(),
        "[]".to_owned(),
        String::new(),
    ] {
        assert!(matches!(refused(&signed(&wrong, &good)), TokenRefused::Malformed(_)), "{wrong}");
    }
    let unsigned = format!("{}.{}.", URL_SAFE_NO_PAD.encode(header()), URL_SAFE_NO_PAD.encode(&good));
    assert_eq!(refused(&unsigned), TokenRefused::Forged);
    assert_eq!(verify(&signed(&header(), &good), CLUSTER, &trusted(), NOW).map(|c| c.token), Ok(claims().token));
}

#[test]
fn claims_are_all_there_and_within_bounds() {
    let (iat, exp) = (NOW.0 / 1000, NOW.0 / 1000 + 60);
    let good = body(iat, exp);
    for wrong in [
        good.replace(&format!(r#","exp":{exp}"#), ""),
        good.replace(&format!(r#","iat":{iat}"#), ""),
        good.replace(r#""sub":"anna","#, ""),
        good.replace("anna", "Anna"),
        good.replace("anna", ""),
        good.replace("tok_", "rep_"),
        good.replace('}', r#","role":"admin"}"#),
        good.replace('}', r#","exp":99999999999}"#),
        body(iat, iat),
        body(iat, iat + 366 * 86_400 + 1),
        body(iat, u64::MAX),
        good.replace(&exp.to_string(), "-1"),
        good.replace(&exp.to_string(), "1e30"),
    ] {
        assert!(matches!(refused(&signed(&header(), &wrong)), TokenRefused::Malformed(_)), "{wrong}");
    }
    let other = good.replace(&CLUSTER.to_string(), &ClusterId::from_u128(8).to_string());
    assert_eq!(refused(&signed(&header(), &other)), TokenRefused::OtherCluster);
}

#[test]
fn a_changed_token_is_refused() {
    let token = key().sign(CLUSTER, &claims());
    for at in 0..token.len() {
        let mut wrong = token.clone().into_bytes();
        wrong[at] = if wrong[at] == b'A' { b'B' } else { b'A' };
        assert!(verify(&String::from_utf8(wrong).unwrap(), CLUSTER, &trusted(), NOW).is_err(), "at {at}");
    }
    for wrong in ["", ".", "..", "...", "a.b.c", &format!("{token}="), &format!("{token}.x"), &"a".repeat(2000)] {
        assert!(verify(wrong, CLUSTER, &trusted(), NOW).is_err(), "{wrong}");
    }
}

#[test]
fn a_key_is_trusted_until_it_retires() {
    let old = key();
    let new = SigningKey::generate(&ring::rand::SystemRandom::new()).unwrap();
    let retires_at = NOW + Millis::from_secs(600);
    let keys = [
        TrustedKey { key: new.public(), retires_at: None },
        TrustedKey { key: old.public(), retires_at: Some(retires_at) },
    ];
    let (by_old, by_new) = (old.sign(CLUSTER, &claims()), new.sign(CLUSTER, &claims()));
    assert_eq!(verify(&by_old, CLUSTER, &keys, Timestamp(retires_at.0 - 1)), Ok(claims()));
    assert_eq!(verify(&by_old, CLUSTER, &keys, retires_at), Err(TokenRefused::UnknownKey(old.public().id())));
    assert_eq!(verify(&by_new, CLUSTER, &keys, retires_at), Ok(claims()));
    assert_eq!(verify(&by_new, CLUSTER, &keys[1..], NOW), Err(TokenRefused::UnknownKey(new.public().id())));
    // The id of a key of the cluster does not make another key's signature good.
    let forged = format!("{}.{}", by_new.rsplit_once('.').unwrap().0, by_old.rsplit_once('.').unwrap().1);
    assert_eq!(verify(&forged, CLUSTER, &keys, NOW), Err(TokenRefused::Forged));
}

#[test]
fn a_weak_seed_is_refused() {
    for weak in [[0; 32], *b"correct horse battery staple 123", std::array::from_fn(|i| i as u8)] {
        assert!(SigningKey::from_seed(weak).is_err());
    }
}
