//! What a token says, before and after its signature is known to be right.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Token, TokenError};
use crate::{
    auth::{
        access::{Actions, Effect, Policy, Rule, Rules, Subject},
        prepare,
    },
    limits,
    types::RuleTopic,
};

/// What is asked of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPolicy {
    /// What `iss` must be.
    pub issuer: Option<String>,
    /// What `aud` must be or have.
    pub audience: Option<String>,
    /// The claim that is the user name.
    pub user_claim: String,
    /// The claim that says what the client may do: `{"publish": […], "subscribe": […]}`.
    pub acl_claim: Option<String>,
}

/// What a token allows its client.
#[derive(Clone, Debug)]
pub struct Rights(Arc<Rules>);

impl Rights {
    /// As rules, which are for everybody who has them.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.0
    }
}

/// A JWS in compact form (RFC 7515 section 7.1) whose signature has not been looked at.
#[derive(Debug)]
pub(super) struct Signed<'a> {
    pub header: Header,
    /// What is signed.
    pub message: &'a [u8],
    pub signature: Vec<u8>,
    claims: &'a [u8],
}

/// Names of its algorithm and its key.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    pub alg: String,
    pub kid: Option<String>,
    /// Extensions that must be understood; none are.
    crit: Option<Value>,
}

impl<'a> Signed<'a> {
    pub fn parse(token: &'a [u8]) -> Result<Self, TokenError> {
        let mut parts = token.split(|byte| *byte == b'.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Form);
        };
        let decode = |part| BASE64URL.decode(part).map_err(|_| TokenError::Form);
        let message = token.get(..header.len() + 1 + claims.len()).ok_or(TokenError::Form)?;
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| TokenError::Form)?;
        if header.crit.is_some() {
            return Err(TokenError::Form);
        }
        Ok(Self { header, message, signature: decode(signature)?, claims })
    }

    /// For after the signature.
    pub fn claims(&self) -> Result<Map<String, Value>, TokenError> {
        let claims = BASE64URL.decode(self.claims).map_err(|_| TokenError::Form)?;
        serde_json::from_slice(&claims).map_err(|_| TokenError::Form)
    }
}

impl TokenPolicy {
    /// What claims are good for.
    pub(super) fn read(&self, claims: Map<String, Value>, now: i64) -> Result<Token, TokenError> {
        // A fraction of a second does not matter (RFC 7519 section 2, NumericDate).
        let seconds = |name| claims.get(name).and_then(Value::as_f64).map(|seconds| seconds as i64);
        let expires = seconds("exp").filter(|expires| *expires > now).ok_or(TokenError::Expired)?;
        let begins = claims.get("nbf").map(|_| seconds("nbf").ok_or(TokenError::Early)).transpose()?;
        if begins.is_some_and(|begins| begins > now + limits::TOKEN_LEEWAY) {
            return Err(TokenError::Early);
        }
        let is = |value: &Value, wanted: &String| value.as_str() == Some(wanted);
        if self.issuer.as_ref().is_some_and(|wanted| !claims.get("iss").is_some_and(|found| is(found, wanted))) {
            return Err(TokenError::Issuer);
        }
        let is_for = |wanted| match claims.get("aud") {
            Some(Value::Array(several)) => several.iter().any(|one| is(one, wanted)),
            Some(one) => is(one, wanted),
            None => false,
        };
        if self.audience.as_ref().is_some_and(|wanted| !is_for(wanted)) {
            return Err(TokenError::Audience);
        }
        let name = claims.get(&self.user_claim).and_then(Value::as_str).and_then(prepare::name);
        let user = name.ok_or(TokenError::Nameless)?.into();
        let rights = self.acl_claim.as_ref().and_then(|name| claims.get(name)).map(rights).transpose()?;
        Ok(Token { user, expires, rights, scopes: scopes(&claims) })
    }
}

/// `scope`, names with spaces between (RFC 8693 section 4.2), or `scp`, a list or the same: both are in use. `None` where
/// a token has neither; what is neither has no names.
pub(in crate::auth) fn scopes(claims: &Map<String, Value>) -> Option<Vec<Box<str>>> {
    let claim = claims.get("scope").or_else(|| claims.get("scp"))?;
    Some(match claim {
        Value::String(text) => text.split(' ').filter(|name| !name.is_empty()).map(Into::into).collect(),
        Value::Array(names) => names.iter().filter_map(Value::as_str).map(Into::into).collect(),
        _ => Vec::new(),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Acl {
    #[serde(default)]
    publish: Vec<String>,
    #[serde(default)]
    subscribe: Vec<String>,
}

fn rights(claim: &Value) -> Result<Rights, TokenError> {
    let acl = Acl::deserialize(claim).map_err(|_| TokenError::Rights)?;
    let publish = Actions { publish: true, ..Actions::default() };
    let subscribe = Actions { subscribe: true, ..Actions::default() };
    let all =
        acl.publish.iter().map(|topic| (publish, topic)).chain(acl.subscribe.iter().map(|topic| (subscribe, topic)));
    let rules = all.map(|(actions, topic)| {
        let topic: RuleTopic = topic.parse().map_err(|_| TokenError::Rights)?;
        Ok(Rule { subject: Subject::Everybody, effect: Effect::Allow, actions, topic, refuse: None })
    });
    let rules = rules.collect::<Result<Vec<_>, TokenError>>()?;
    if rules.len() > limits::TOKEN_RULES {
        return Err(TokenError::Rights);
    }
    Ok(Rights(Arc::new(Rules::new(&Policy { rules, ..Policy::default() }))))
}
