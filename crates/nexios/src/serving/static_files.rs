//! Files of a directory: what is inside, and nothing that hides or leads out.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use nexios_engine::{Place, Places, RequestBody, ResponseBody};
use tower_http::services::ServeDir;
use tower_service::Service;

use crate::routing::path::percent_decode;

/// A directory whose files are served: [`App::static_files`](crate::App::static_files).
///
/// ```
/// use nexios::StaticFiles;
/// let app = nexios::App::new().static_files("/", StaticFiles::of("site").follow_links(true));
/// ```
#[derive(Clone, Debug)]
pub struct StaticFiles {
    directory: PathBuf,
    hidden: bool,
    links: bool,
    serve: ServeDir,
}

/// What a path below the directory is.
enum Found {
    Nothing,
    Entry,
}

/// The directory for files that any client may see, by RFC 8615; its name begins with a dot.
const WELL_KNOWN: &str = ".well-known";

impl StaticFiles {
    /// The files of a directory, but for those whose names or directories begin with a dot (`.well-known` is served),
    /// and for symbolic links that lead out of it.
    pub fn of(directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        StaticFiles { serve: ServeDir::new(&directory), directory, hidden: false, links: false }
    }

    /// Whether files and directories whose names begin with a dot are served; they are not unless this is set.
    pub fn hidden_files(mut self, on: bool) -> Self {
        self.hidden = on;
        self
    }

    /// Whether symbolic links are followed that lead out of the directory; they are not unless this is set.
    pub fn follow_links(mut self, on: bool) -> Self {
        self.links = on;
        self
    }

    /// The answer to a request for `rest`, the part of its path behind the prefix. `None` where there is nothing, and
    /// for methods that files do not take.
    pub(crate) async fn answer(
        &self,
        request: &Request<RequestBody>,
        rest: &str,
        places: &Places,
    ) -> Option<Response<ResponseBody>> {
        let relative = self.relative(rest)?;
        let (directory, links) = (self.directory.clone(), self.links);
        let found = tokio::task::spawn_blocking(move || find(&directory, &relative, links)).await;
        if !matches!(found, Ok(Found::Entry)) {
            return None;
        }
        let Some(place) = places.take() else { return Some(busy()) };
        let mut inner = Request::builder().method(request.method()).uri(rest);
        inner.headers_mut()?.clone_from(request.headers());
        let Ok(mut response) = self.serve.clone().call(inner.body(Empty::<Bytes>::new()).ok()?).await;
        if matches!(response.status(), StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
            return None;
        }
        if response.headers().contains_key(header::LOCATION) {
            response.headers_mut().insert(header::LOCATION, with_slash(request)?);
        }
        Some(response.map(|body| Held { body: body.map_err(Into::into).boxed_unsync(), _place: place }.boxed_unsync()))
    }

    /// The path below the directory; `None` if it leads elsewhere or is hidden.
    fn relative(&self, rest: &str) -> Option<PathBuf> {
        let path = PathBuf::from(percent_decode(rest.trim_start_matches('/'))?);
        let is_visible = |component: Component<'_>| match component {
            Component::Normal(name) => {
                let name = name.to_string_lossy();
                self.hidden || !name.starts_with('.') || name == WELL_KNOWN
            }
            Component::CurDir => true,
            _ => false,
        };
        path.components().all(is_visible).then_some(path)
    }
}

impl<P: Into<PathBuf>> From<P> for StaticFiles {
    fn from(directory: P) -> Self {
        StaticFiles::of(directory)
    }
}

/// Whatever cannot be looked at is nothing: names that are too long, links in a circle, directories without permission.
fn find(directory: &Path, relative: &Path, links: bool) -> Found {
    let inside = |path: &Path| -> io::Result<bool> {
        let real = path.canonicalize()?;
        Ok(links || real.starts_with(directory.canonicalize()?))
    };
    let path = directory.join(relative);
    let is_inside = match inside(&path) {
        // Its index is what is served.
        Ok(true) if path.is_dir() => inside(&path.join("index.html")).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(true),
            _ => Err(error),
        }),
        other => other,
    };
    if is_inside.unwrap_or(false) { Found::Entry } else { Found::Nothing }
}

/// Where the directory is that was asked for without its slash: by the whole path, and on this host.
fn with_slash(request: &Request<RequestBody>) -> Option<HeaderValue> {
    // Two slashes, or one and a backslash, would be another host to a browser.
    let path = request.uri().path().trim_start_matches(['/', '\\']);
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    HeaderValue::from_str(&format!("/{path}/{query}")).ok()
}

fn busy() -> Response<ResponseBody> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// A file that is being sent, and its place in the limit of connections.
struct Held {
    body: ResponseBody,
    _place: Place,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
