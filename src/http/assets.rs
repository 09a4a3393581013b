//! The page's files, the client library that it uses, and the description of the API, part of the program. A file is a
//! route of its own, made at start.

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use rust_embed::{EmbeddedFile, RustEmbed};

/// Where `/` is.
const INDEX: &str = "index.html";

/// Everything from here, nothing inline: what a device sends cannot become script, whatever
/// fault the page may have.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

#[derive(RustEmbed)]
#[folder = "src/http/page/"]
struct Page;

/// What programs get as the package `@synap/mqtt-stream`.
#[derive(RustEmbed)]
#[folder = "clients/js/src/"]
struct Client;

#[derive(Clone)]
struct Asset {
    content: Bytes,
    content_type: HeaderValue,
    etag: HeaderValue,
}

/// A route for each file.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    files::<Page>("").chain(files::<Client>("client/")).fold(Router::new(), |router, (path, asset)| {
        let path = if path == INDEX { "/".to_owned() } else { format!("/{path}") };
        router.route(&path, get(move |headers: HeaderMap| async move { asset.answer(&headers) }))
    })
}

/// Files of a folder, below `prefix`.
fn files<F: RustEmbed>(prefix: &str) -> impl Iterator<Item = (String, Asset)> {
    F::iter().filter_map(move |path| Some((format!("{prefix}{path}"), Asset::new(&path, F::get(&path)?))))
}

impl Asset {
    fn new(path: &str, file: EmbeddedFile) -> Self {
        let content_type = match path.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("json") => "application/json",
            Some("svg") => "image/svg+xml",
            _ => "application/octet-stream",
        };
        let digest: u128 = file.metadata.sha256_hash().iter().fold(0, |hash, byte| (hash << 8) | u128::from(*byte));
        Self {
            content: file.data.into_owned().into(),
            content_type: HeaderValue::from_static(content_type),
            etag: HeaderValue::try_from(format!("\"{digest:032x}\"")).unwrap_or(HeaderValue::from_static("\"\"")),
        }
    }

    /// The file, unless the client has it. It asks each time, since a new version of the
    /// program has new files under the same names.
    fn answer(self, headers: &HeaderMap) -> Response {
        let known = headers.get(header::IF_NONE_MATCH).is_some_and(|tags| {
            tags.as_bytes().split(|byte| *byte == b',').any(|tag| {
                let tag = tag.trim_ascii();
                tag.strip_prefix(b"W/").unwrap_or(tag) == self.etag.as_bytes()
            })
        });
        let caching = [(header::ETAG, self.etag), (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
        if known {
            return (StatusCode::NOT_MODIFIED, caching).into_response();
        }
        let kind =
            [(header::CONTENT_TYPE, self.content_type), (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY)];
        (caching, kind, self.content).into_response()
    }
}
