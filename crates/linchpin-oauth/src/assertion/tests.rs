use base64::engine::general_purpose::STANDARD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, ED25519, KeyPair as _, UnparsedPublicKey,
};
use serde_json::Value;

use super::*;

const NOW: Duration = Duration::from_secs(1_800_000_000);

fn pem(kind: &str, der: &[u8]) -> Secret {
    Secret::new(format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", STANDARD.encode(der)))
}

fn p256() -> Vec<u8> {
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    key.expect("a key").as_ref().to_vec()
}

fn ed25519() -> Vec<u8> {
    Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key").as_ref().to_vec()
}

/// Checks the signature as a provider would; the header and the claims.
fn verified(signer: &Signer, assertion: &Secret) -> (Value, Value) {
    let (message, signature) = assertion.expose().rsplit_once('.').expect("three parts");
    let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).expect("base64url");
    let signature = decoded(signature);
    match signer {
        Signer::Es256(key) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key().as_ref())
            .verify(message.as_bytes(), &signature),
        Signer::EdDsa(key) => {
            UnparsedPublicKey::new(&ED25519, key.public_key().as_ref()).verify(message.as_bytes(), &signature)
        }
        Signer::Rs256(_) => panic!("no such key here"),
    }
    .expect("the signature is good");
    let (header, claims) = message.split_once('.').expect("three parts");
    let json = |part| serde_json::from_slice(&decoded(part)).expect("JSON");
    (json(header), json(claims))
}

#[test]
fn an_assertion_is_signed_and_says_who_asks_whom_and_until_when() {
    for (der, algorithm) in [(p256(), "ES256"), (ed25519(), "EdDSA")] {
        let signer = Signer::from_pem(&pem("PRIVATE KEY", &der)).expect("a key");
        let now = UNIX_EPOCH + NOW;
        let assertion = signer.assertion("me", "https://as.example.com", now).expect("signed");
        let (header, claims) = verified(&signer, &assertion);
        assert_eq!(header, json!({ "alg": algorithm, "typ": "JWT" }));
        for (name, expected) in [
            ("iss", json!("me")),
            ("sub", json!("me")),
            ("aud", json!("https://as.example.com")),
            ("iat", json!(1_800_000_000_u64)),
            ("exp", json!(1_800_000_120_u64)),
        ] {
            assert_eq!(claims[name], expected, "{name}");
        }
        let (_, again) = verified(&signer, &signer.assertion("me", "x", now).expect("signed"));
        assert_ne!(claims["jti"], again["jti"], "an assertion that repeats is a replay");
    }
}

#[test]
fn what_is_no_usable_key_is_told_apart_and_never_shown() {
    let p384 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &SystemRandom::new());
    let p384 = p384.expect("a key");
    for (key, expected) in [
        (Secret::new("planted"), KeyError::NotPem),
        (Secret::new(""), KeyError::NotPem),
        (pem("CERTIFICATE", &p256()), KeyError::NotPem),
        (pem("PRIVATE KEY", b"planted"), KeyError::Unsupported),
        (pem("PRIVATE KEY", p384.as_ref()), KeyError::Unsupported),
        (pem("EC PRIVATE KEY", b"planted"), KeyError::Unsupported),
    ] {
        let error = Signer::from_pem(&key).err().expect("no key");
        assert_eq!(error, expected);
        assert!(!format!("{error} {error:?}").contains("planted"));
    }
}
