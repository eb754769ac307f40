//! Unsigned tokens for SASL/OAUTHBEARER (RFC 7515, `"alg":"none"`), as librdkafka's `sasl.oauthbearer.config` describes them.
//! librdkafka makes the first one with the client, and asks for each later one by an event. The binding takes that event, so the
//! answer must come from here. Pure: time is a parameter.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rdkafka::client::OAuthToken;

/// The lifetime of a token if the configuration does not say, in seconds. It is librdkafka's own default.
const LIFE_SECONDS: i64 = 3_600;

/// Why there is no token.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Only tokens without a signature can be made here.
    #[error(
        "sasl.mechanisms = OAUTHBEARER works with unsigned tokens only: set enable.sasl.oauthbearer.unsecure.jwt, or another \
         mechanism"
    )]
    NotUnsigned,
    /// A part of `sasl.oauthbearer.config` cannot be used.
    #[error(
        "sasl.oauthbearer.config takes principal, principalClaimName, scope, scopeClaimName and lifeSeconds, and not {0:?}"
    )]
    Part(String),
    /// A token must have a principal.
    #[error("sasl.oauthbearer.config has no principal")]
    NoPrincipal,
}

/// A token that is valid from `now_ms` on, milliseconds since the epoch. `config` is `name=value` pairs with spaces between them.
pub(super) fn unsigned(config: &str, now_ms: i64) -> Result<OAuthToken, TokenError> {
    let (mut principal, mut principal_claim) = ("", "sub");
    let (mut scope, mut scope_claim) = (None, "scope");
    let mut life_seconds = LIFE_SECONDS;
    for part in config.split(' ').filter(|part| !part.is_empty()) {
        let refused = || TokenError::Part(part.to_owned());
        let (name, value) = part.split_once('=').filter(|(_, value)| !value.is_empty()).ok_or_else(refused)?;
        match name {
            "principal" => principal = value,
            "principalClaimName" => principal_claim = value,
            "scope" => scope = Some(value),
            "scopeClaimName" => scope_claim = value,
            "lifeSeconds" => {
                life_seconds = value.parse::<u32>().ok().filter(|&life| life > 0).ok_or_else(refused)?.into();
            }
            _ => return Err(refused()),
        }
    }
    if principal.is_empty() {
        return Err(TokenError::NoPrincipal);
    }
    let lifetime_ms = now_ms.saturating_add(life_seconds * 1_000);
    let mut claims = serde_json::Map::new();
    claims.insert(principal_claim.to_owned(), principal.into());
    claims.insert("iat".to_owned(), (now_ms as f64 / 1e3).into());
    claims.insert("exp".to_owned(), (lifetime_ms as f64 / 1e3).into());
    if let Some(scope) = scope {
        claims.insert(scope_claim.to_owned(), scope.split(',').filter(|scope| !scope.is_empty()).collect());
    }
    let claims = serde_json::Value::Object(claims).to_string();
    let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
    Ok(OAuthToken {
        // the third part, the signature, is empty
        token: format!("{}.{}.", encoded(r#"{"alg":"none"}"#), encoded(&claims)),
        principal_name: principal.to_owned(),
        lifetime_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(token: &OAuthToken) -> serde_json::Value {
        let parts: Vec<&str> = token.token.split('.').collect();
        assert_eq!(
            (parts.len(), parts[0], parts[2]),
            (3, "eyJhbGciOiJub25lIn0", ""),
            "as librdkafka begins and ends it"
        );
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap()
    }

    #[test]
    fn a_token_holds_what_the_configuration_says() {
        let token = unsigned(" principal=me  lifeSeconds=5 scope=read,,write ", 1_500).unwrap();
        assert_eq!((token.principal_name.as_str(), token.lifetime_ms), ("me", 6_500));
        assert_eq!(
            claims(&token),
            serde_json::json!({ "sub": "me", "iat": 1.5, "exp": 6.5, "scope": ["read", "write"] })
        );
        let named = unsigned("principalClaimName=user principal=me scopeClaimName=may scope=all", 0).unwrap();
        assert_eq!(claims(&named), serde_json::json!({ "user": "me", "iat": 0.0, "exp": 3_600.0, "may": ["all"] }));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for part in ["extension_a=b", "lifeSeconds=0", "lifeSeconds=soon", "principal=", "principal"] {
            let Err(error) = unsigned(part, 0) else { panic!("{part} is taken") };
            assert_eq!(error, TokenError::Part(part.to_owned()));
        }
        let Err(error) = unsigned("scope=all", 0) else { panic!("it has no principal") };
        assert_eq!(error, TokenError::NoPrincipal);
    }
}
