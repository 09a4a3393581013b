//! Stands for Ory Kratos' public API, `GET /sessions/whoami` as its source has it: the session is looked for in
//! `X-Session-Token`, then as a bearer token, then in its cookie; 401 and 403 are problems of its own form.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::oneshot};

/// What it does when it is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// Answers.
    #[default]
    Well,
    /// Takes longer than anybody waits.
    Slow,
    /// Says 500.
    Broken,
}

#[derive(Default)]
struct Shared {
    /// By what shows them.
    sessions: Mutex<HashMap<String, Session>>,
    mood: Mutex<Mood>,
    asked: AtomicUsize,
}

#[derive(Clone)]
struct Session {
    identity: String,
    expires_at: String,
    second_factor: bool,
}

/// A running stub.
pub struct Kratos {
    pub url: String,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
}

impl Kratos {
    pub async fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let router = Router::new().route("/sessions/whoami", get(whoami)).with_state(Arc::clone(&shared));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = async move { axum_serve(listener, router).await };
        tokio::spawn(async move {
            tokio::select! {
                () = serving => {}
                _ = stopped => {}
            }
        });
        Self { url, shared, stop: Some(stop) }
    }

    /// Signs somebody in: the value that shows it, in whichever way.
    pub fn sign_in(&self, identity: &str, expires_at: &str) -> String {
        let token = format!("ory_st_{identity}{}", self.shared.sessions.lock().len());
        let session = Session { identity: identity.into(), expires_at: expires_at.into(), second_factor: false };
        self.shared.sessions.lock().insert(token.clone(), session);
        token
    }

    /// Asks for a second factor from now on.
    pub fn ask_for_more(&self, token: &str) {
        self.shared.sessions.lock().get_mut(token).unwrap().second_factor = true;
    }

    pub fn sign_out(&self, token: &str) {
        self.shared.sessions.lock().remove(token);
    }

    pub fn set(&self, mood: Mood) {
        *self.shared.mood.lock() = mood;
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::Relaxed)
    }

    /// Is not there any more.
    pub fn end(&mut self) {
        self.stop.take();
    }
}

async fn axum_serve(listener: TcpListener, router: Router) {
    use hyper_util::{rt::TokioIo, service::TowerToHyperService};
    while let Ok((socket, _)) = listener.accept().await {
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service));
    }
}

async fn whoami(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    shared.asked.fetch_add(1, Ordering::Relaxed);
    let mood = *shared.mood.lock();
    match mood {
        Mood::Well => {}
        Mood::Slow => tokio::time::sleep(Duration::from_secs(600)).await,
        Mood::Broken => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
    let text = |name: &str| Some(headers.get(name)?.to_str().unwrap().to_owned());
    let cookie = || text("cookie")?.strip_prefix("ory_kratos_session=").map(str::to_owned);
    let bearer = || text("authorization")?.strip_prefix("Bearer ").map(str::to_owned);
    let shown = text("x-session-token").or_else(bearer).or_else(cookie);
    let session = shown.and_then(|token| shared.sessions.lock().get(&token).cloned());
    match session {
        None => refused(401, "Unauthorized", "No valid session credentials found in the request."),
        Some(Session { second_factor: true, .. }) => {
            refused(403, "Forbidden", "Session does not fulfill the requested Authenticator Assurance Level")
        }
        Some(Session { identity, expires_at, .. }) => Json(json!({
            "id": "9f425a8d-7efc-4768-8f23-7647a74fdf13", "active": true, "expires_at": expires_at,
            "authenticated_at": "2026-01-31T12:00:00.5Z", "authenticator_assurance_level": "aal1",
            "authentication_methods": [{"method": "password", "aal": "aal1", "completed_at": "2026-01-31T12:00:00Z"}],
            "issued_at": "2026-01-31T12:00:00.5Z",
            "identity": {"id": identity, "schema_id": "default", "state": "active", "traits": {"email": "a@example.org"}},
            "devices": [],
        }))
        .into_response(),
    }
}

fn refused(code: u16, status: &str, reason: &str) -> Response {
    let error: Value = json!({"error": {"code": code, "status": status, "reason": reason, "message": "refused"}});
    (StatusCode::from_u16(code).unwrap(), Json(error)).into_response()
}
