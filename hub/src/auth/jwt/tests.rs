use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn keys() -> Keys {
    Keys::from_pem(&Keys::generate().unwrap(), "m").unwrap()
}

/// A token with any header and claims, signed by `keys` whatever they say.
fn forged(keys: &Keys, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &keys.encoding, Algorithm::EdDSA).unwrap();
    format!("{message}.{signature}")
}

fn claims() -> Value {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    json!({ "iss": "axle:m", "aud": "axle-hub", "sub": "alice", "exp": now + 60, "iat": now, "role": "viewer" })
}

#[test]
fn a_token_names_its_bearer() {
    let keys = keys();
    let now = SystemTime::now();
    let Issued { token, id, expires_ms } = keys.issue("alice", Role::Operator, now, HOUR).unwrap();
    let until = SystemTime::UNIX_EPOCH + Duration::from_millis(expires_ms) + Duration::from_secs(LEEWAY + 1);
    let bearer = Caller { subject: "alice".into(), role: Role::Operator, token: id.clone(), until };
    assert_eq!(keys.verify(&token).unwrap(), bearer);
    assert_ne!(keys.issue("alice", Role::Operator, now, HOUR).unwrap().id, id);
    // One of a time before tokens had ids has one all the same, and always the same.
    let former = forged(&keys, &json!({ "alg": "EdDSA" }), &claims());
    assert_eq!(keys.verify(&former).unwrap().token, keys.verify(&former).unwrap().token);
}

#[test]
fn only_whole_tokens_of_this_hub_are_taken() {
    let keys = keys();
    let header = json!({ "alg": "EdDSA", "typ": "JWT" });
    assert!(keys.verify(&forged(&keys, &header, &claims())).is_ok(), "the frame of this test");

    for missing in ["iss", "aud", "sub", "exp", "role"] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(missing);
        assert!(keys.verify(&forged(&keys, &header, &claims)).is_err(), "without {missing}");
    }
    for (claim, value) in [
        ("iss", json!("axle:other")),
        ("aud", json!("other")),
        ("sub", json!("")),
        ("exp", json!(1)),
        ("exp", json!("9999999999")),
        ("nbf", json!(9_999_999_999_u64)),
        ("role", json!("root")),
    ] {
        let mut claims = claims();
        claims[claim] = value.clone();
        assert!(keys.verify(&forged(&keys, &header, &claims)).is_err(), "{claim} = {value}");
    }
    for header in [
        json!({ "alg": "none" }),
        json!({ "alg": "HS256" }),
        json!({ "alg": "RS256" }),
        json!({ "alg": "ES256" }),
        json!({ "alg": "EdDSA", "kid": "../../etc/passwd" }),
        json!({ "alg": "EdDSA", "kid": "0011223344556677" }),
    ] {
        assert!(keys.verify(&forged(&keys, &header, &claims())).is_err(), "{header}");
    }
}

#[test]
fn the_public_key_is_no_shared_secret() {
    let keys = keys();
    let pair = KeyPair::from_pem(&Keys::generate().unwrap()).unwrap();
    let secret = EncodingKey::from_secret(pair.public_key_raw());
    let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(), &secret).unwrap();
    assert!(keys.verify(&token).is_err());
}

#[test]
fn another_key_or_a_changed_byte_is_refused() {
    let keys = keys();
    let token = keys.issue("alice", Role::Admin, SystemTime::now(), HOUR).unwrap().token;
    assert!(self::keys().verify(&token).is_err());
    for at in (0..token.len()).step_by(7) {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        // The last character of a part may hold bits that encode nothing.
        if changed != token && at + 1 < token.len() {
            assert!(keys.verify(&changed).is_err(), "byte {at}");
        }
    }
    assert!(keys.verify("").is_err());
    assert!(keys.verify(&"a.".repeat(10_000)).is_err());
}
