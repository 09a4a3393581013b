//! A web client that is known: its name, its grants, and its end.

use std::{
    fmt,
    future::pending,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::future::BoxFuture;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    limits,
    types::{Grants, Micros, Scope, Topics},
};

/// Who it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// Someone who shows nothing, where nobody must.
    Anyone,
    /// The holder of the API key of this name.
    Key(Arc<str>),
    /// The identity of this id.
    User(Arc<str>),
}

/// See the module. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Caller(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    who: Who,
    grants: Grants,
    expires: Option<Micros>,
    revoked: Option<CancellationToken>,
    proof: Option<Box<dyn Proof>>,
}

/// What a caller has shown, where it can be asked whether that still counts.
pub(super) trait Proof: fmt::Debug + Send + Sync {
    /// Whether it does; yes where that cannot be found out.
    fn is_good(&self) -> BoxFuture<'_, bool>;
}

impl Caller {
    /// A caller until `expires`, unless `revoked` is fired before.
    pub(super) fn new(who: Who, grants: Grants, expires: Option<Micros>, revoked: Option<CancellationToken>) -> Self {
        Self(Arc::new(Inner { who, grants, expires, revoked, proof: None }))
    }

    /// A caller until `expires`, unless `proof` is not good any more before.
    pub(super) fn proven(who: Who, grants: Grants, expires: Option<Micros>, proof: Box<dyn Proof>) -> Self {
        Self(Arc::new(Inner { who, grants, expires, revoked: None, proof: Some(proof) }))
    }

    /// Someone who shows nothing.
    pub(super) fn anyone(grants: Grants) -> Self {
        Self::new(Who::Anyone, grants, None, None)
    }

    /// Who it is.
    #[must_use]
    pub fn who(&self) -> &Who {
        &self.0.who
    }

    /// All that it may do.
    #[must_use]
    pub fn grants(&self) -> &Grants {
        &self.0.grants
    }

    /// The topics for which it has a scope.
    #[must_use]
    pub fn topics(&self, scope: Scope) -> &Topics {
        self.0.grants.of(scope)
    }

    /// When it expires, if it does.
    #[must_use]
    pub fn expires(&self) -> Option<Micros> {
        self.0.expires
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.expires.is_some_and(|expires| expires <= now())
            || self.0.revoked.as_ref().is_some_and(CancellationToken::is_cancelled)
    }

    /// Whether it is not over, asked of whoever knows.
    pub async fn is_good(&self) -> bool {
        !self.is_over()
            && match &self.0.proof {
                Some(proof) => proof.is_good().await,
                None => true,
            }
    }

    /// Comes when it is over; none where it never is.
    #[must_use]
    pub fn end(&self) -> Option<BoxFuture<'static, ()>> {
        let Inner { expires, revoked, proof, .. } = &*self.0;
        if expires.is_none() && revoked.is_none() && proof.is_none() {
            return None;
        }
        let caller = self.clone();
        Some(Box::pin(async move {
            tokio::select! {
                () = expiry(caller.0.expires) => {}
                () = caller.revocation() => {}
                () = caller.refutation() => {}
            }
        }))
    }

    async fn revocation(&self) {
        match &self.0.revoked {
            Some(revoked) => revoked.cancelled().await,
            None => pending().await,
        }
    }

    async fn refutation(&self) {
        let Some(proof) = &self.0.proof else { return pending().await };
        loop {
            sleep(limits::IDENTITY_INTERVAL).await;
            if !proof.is_good().await {
                return;
            }
        }
    }
}

/// Looks at the clock now and then, which may be set.
async fn expiry(expires: Option<Micros>) {
    let Some(expires) = expires else { return pending().await };
    loop {
        let left = expires.get().saturating_sub(now().get());
        let Ok(left) = u64::try_from(left) else { return };
        if left == 0 {
            return;
        }
        sleep(Duration::from_micros(left).min(limits::CALLER_CLOCK_INTERVAL)).await;
    }
}

/// The time.
pub(super) fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros::saturating(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(micros: i64) -> Option<Micros> {
        Some(Micros::saturating(now().get() + micros))
    }

    #[tokio::test]
    async fn a_caller_ends_with_its_time_or_when_it_is_revoked() {
        let caller = |expires, revoked| Caller::new(Who::User("a".into()), Grants::none(), expires, revoked);
        assert!(caller(None, None).end().is_none());
        let past = caller(after(-1), None);
        assert!(past.is_over());
        past.end().unwrap().await;
        let soon = caller(after(20_000), None);
        assert!(!soon.is_over());
        soon.end().unwrap().await;
        assert!(soon.is_over());
        let token = CancellationToken::new();
        let revoked = caller(after(3_600_000_000), Some(token.clone()));
        let mut end = revoked.end().unwrap();
        assert!(futures_util::poll!(&mut end).is_pending() && !revoked.is_over());
        token.cancel();
        end.await;
        assert!(revoked.is_over());
    }
}
