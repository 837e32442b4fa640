//! Assertions by which a client with a private key says who it is (RFC 7523 sections 2.2 and 3).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use linchpin_store::Secret;
use rand::RngCore as _;
use ring::rand::SystemRandom;
use ring::rsa;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use thiserror::Error;

/// The `client_assertion_type` of a JWT (RFC 7523 section 2.2).
pub(crate) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// For how long an assertion is good: the request, and a provider's clock that runs behind.
const LIFETIME: Duration = Duration::from_secs(120);

/// Why a private key is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not PEM, or no key in it.
    #[error("the private key is no PEM file of a private key")]
    NotPem,
    /// A kind of key that nothing here signs with.
    #[error("the private key is of a kind that is not supported; use P-256, Ed25519 or RSA (PKCS #8)")]
    Unsupported,
    /// The key does not sign.
    #[error("the private key cannot sign")]
    Unusable,
}

/// A private key that signs assertions.
pub(crate) enum Signer {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

impl Signer {
    /// Reads a key in PEM: PKCS #8, or PKCS #1 for RSA.
    pub(crate) fn from_pem(pem: &Secret) -> Result<Self, KeyError> {
        let key = PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()).map_err(|_| KeyError::NotPem)?;
        match &key {
            PrivateKeyDer::Pkcs8(key) => Self::from_pkcs8(key.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(key) => rsa::KeyPair::from_der(key.secret_pkcs1_der()).ok().map(Self::Rs256),
            _ => None,
        }
        .ok_or(KeyError::Unsupported)
    }

    fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let random = SystemRandom::new();
        let ecdsa = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random);
        ecdsa
            .map(Self::Es256)
            .or_else(|_| Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Self::EdDsa))
            .or_else(|_| rsa::KeyPair::from_pkcs8(der).map(Self::Rs256))
            .ok()
    }

    /// The name of what it signs with (RFC 7518 section 3.1, RFC 8037 section 3.1).
    pub(crate) fn algorithm(&self) -> &'static str {
        match self {
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
            Self::Rs256(_) => "RS256",
        }
    }

    /// An assertion that `client` is who asks `issuer` at `now`. Each has an identifier of its own, so that no provider
    /// takes it for a replay.
    pub(crate) fn assertion(&self, client: &str, issuer: &str, now: SystemTime) -> Result<Secret, KeyError> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut id = [0; 16];
        rand::rng().fill_bytes(&mut id);
        let claims = json!({
            "iss": client,
            "sub": client,
            "aud": issuer,
            "jti": URL_SAFE_NO_PAD.encode(id),
            "iat": now.as_secs(),
            "exp": (now + LIFETIME).as_secs(),
        });
        let header = json!({ "alg": self.algorithm(), "typ": "JWT" });
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.sign(signed.as_bytes())?;
        Ok(Secret::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        match self {
            Self::Es256(key) => {
                let signature = key.sign(&random, message).map_err(|_| KeyError::Unusable)?;
                Ok(signature.as_ref().to_vec())
            }
            Self::EdDsa(key) => Ok(key.sign(message).as_ref().to_vec()),
            Self::Rs256(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map_err(|_| KeyError::Unusable)?;
                Ok(signature)
            }
        }
    }
}

#[cfg(test)]
mod tests;
