//! Services of others that know who clients are, asked by HTTP: one connection a question, for they are asked seldom.
//!
//! What is asked of them is what hyper and rustls, which are here already, do in a hundred lines; a client library would
//! bring a pool, redirections and proxies from the environment, none of which may be followed with credentials.

use std::{io, sync::Arc};

use axum::body::{self, Body, Bytes};
use hyper::{
    Method, Request, StatusCode,
    client::conn::http1,
    header::{self, HeaderName, HeaderValue},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use url::Url;

use crate::limits;

/// A service at an address.
#[derive(Clone, Debug)]
pub struct Service {
    /// `https:` or `http:`.
    pub url: Url,
    /// Who vouches for the server; none for the CAs that browsers trust.
    pub roots: Option<RootCertStore>,
}

/// What it is asked. The default is GET of its address.
#[derive(Default)]
pub struct Question {
    /// How.
    pub method: Method,
    /// What stands in `Accept`.
    pub accept: &'static str,
    /// What else the head has.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody can be asked there.
    #[error("the address has no host that can be asked")]
    Host,
    /// The network.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The certificate, or what else there is.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// Not HTTP, or cut off.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// More than is taken.
    #[error("the answer is too large, or was cut off")]
    Body,
}

impl Service {
    /// One request, one answer, whatever its status: redirections are not followed. Without a limit of time.
    ///
    /// # Errors
    /// [`AskError`]
    pub async fn ask(&self, question: Question) -> Result<(StatusCode, Bytes), AskError> {
        let host = self.url.host_str().ok_or(AskError::Host)?;
        let port = self.url.port_or_known_default().ok_or(AskError::Host)?;
        // An IPv6 address has brackets in a URL, and none for the resolver.
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let stream = TcpStream::connect((name.as_str(), port)).await?;
        if self.url.scheme() == "http" {
            return self.ask_on(stream, question).await;
        }
        let provider = Arc::new(ring::default_provider());
        let roots = self.roots.clone().unwrap_or_else(|| webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name).map_err(|_| AskError::Host)?;
        self.ask_on(TlsConnector::from(Arc::new(config)).connect(name, stream).await?, question).await
    }

    async fn ask_on(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        question: Question,
    ) -> Result<(StatusCode, Bytes), AskError> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = self.request(question).ok_or(AskError::Host)?;
        let answer = async {
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            let content = body::to_bytes(Body::new(answer.into_body()), limits::SERVICE_ANSWER_BYTES).await;
            Ok((status, content.map_err(|_| AskError::Body)?))
        };
        tokio::pin!(answer, connection);
        tokio::select! {
            answer = &mut answer => answer,
            // The answer may still lie in a buffer.
            ended = &mut connection => {
                ended?;
                answer.await
            }
        }
    }

    fn request(&self, question: Question) -> Option<Request<Body>> {
        let Question { method, accept, headers, body } = question;
        let url = &self.url;
        let authority = match url.port() {
            Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
            None => url.host_str().unwrap_or_default().to_owned(),
        };
        let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let request = Request::builder().method(method).uri(path).header(header::HOST, authority);
        let mut request = request.header(header::ACCEPT, accept).body(Body::from(body)).ok()?;
        request.headers_mut().extend(headers);
        Some(request)
    }
}
