//! The record as JSON, version 1. The only place where its secrets are written out or read in.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use url::Url;
use zeroize::Zeroizing;

use super::{
    Client, ClientAuthMethod, DeadToken, ExchangeMark, RECORD_VERSION, Record, RecordError, RefusedClient,
    RefusedToken, Registration,
};
use crate::{Secret, UnixMs};

#[derive(Serialize, Deserialize)]
#[serde(remote = "Record")]
struct RecordFields {
    generation: u64,
    issuer: String,
    token_endpoint: Url,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revocation_endpoint: Option<Url>,
    token_endpoint_auth_method: ClientAuthMethod,
    resource: String,
    #[serde(with = "ClientFields")]
    client: Client,
    #[serde(with = "exposed")]
    access_token: Secret,
    #[serde(default, with = "exposed_option", skip_serializing_if = "Option::is_none")]
    refresh_token: Option<Secret>,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signed_in_at_ms: Option<UnixMs>,
    obtained_at_ms: UnixMs,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<UnixMs>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exchange: Option<ExchangeMark>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dead: Option<DeadToken>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<RefusedToken>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_refused: Option<RefusedClient>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_at_ms: Option<UnixMs>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Client")]
struct ClientFields {
    id: String,
    #[serde(default, with = "exposed_option", skip_serializing_if = "Option::is_none")]
    secret: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret_expires_at_ms: Option<UnixMs>,
    registration: Registration,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    redirect_uri: Option<String>,
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    #[serde(flatten, with = "RecordFields")]
    record: &'a Record,
}

#[derive(Deserialize)]
struct Version {
    version: u64,
}

#[derive(Deserialize)]
struct Read(#[serde(with = "RecordFields")] Record);

impl Record {
    /// The record as one line of JSON, secrets included: for a store, and for nothing else.
    pub fn to_json(&self) -> Zeroizing<String> {
        let written = Written { version: RECORD_VERSION, record: self };
        Zeroizing::new(
            serde_json::to_string(&written).expect("every field of a record is representable in JSON"),
        )
    }

    /// Reads what [`Record::to_json`] wrote, keeping fields that this version does not know.
    pub fn from_json(text: &str) -> Result<Self, RecordError> {
        let malformed =
            |error: serde_json::Error| RecordError::Malformed { line: error.line(), column: error.column() };
        let Version { version } = serde_json::from_str(text).map_err(malformed)?;
        if version != u64::from(RECORD_VERSION) {
            return Err(RecordError::Version(version));
        }
        let Read(mut record) = serde_json::from_str(text).map_err(malformed)?;
        record.extra.remove("version");
        Ok(record)
    }
}

mod exposed {
    use super::{Deserialize, Deserializer, Secret, Serializer};

    pub(super) fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(secret.expose())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        String::deserialize(deserializer).map(Secret::new)
    }
}

mod exposed_option {
    use super::{Deserialize, Deserializer, Secret, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "the signature that serde's `with` calls")]
    pub(super) fn serialize<S: Serializer>(
        secret: &Option<Secret>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        secret.as_ref().map(Secret::expose).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Secret>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
    }
}
