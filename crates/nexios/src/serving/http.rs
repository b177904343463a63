//! Plain HTTP on the same port: a health route, static files, and a tower service of your own.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use nexios_engine::{Places, RequestBody, ResponseBody, ResponseFuture, not_found, upgrade_required};
use tower_service::Service;

use crate::routing::app::App;
use crate::serving::static_files::StaticFiles;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Fallback = Arc<dyn Fn(Request<RequestBody>) -> ResponseFuture + Send + Sync>;

/// What an app answers beside WebSockets, in the order in which it is asked.
#[derive(Clone, Default)]
pub(crate) struct HttpRoutes {
    health: Vec<String>,
    files: Vec<(String, StaticFiles)>,
    pub(crate) fallback: Option<Fallback>,
}

impl App {
    /// Answers `GET path` with 200 and "ok" while the server takes connections.
    ///
    /// ```
    /// let app = nexios::App::new().health("/health");
    /// ```
    pub fn health(mut self, path: impl Into<String>) -> Self {
        self.http.health.push(path.into());
        self
    }

    /// Serves the files of a directory below a path; `/` gives `index.html`. Not those whose names begin with a dot,
    /// nor symbolic links that lead out, unless [`StaticFiles`] says so.
    ///
    /// ```
    /// let app = nexios::App::new().static_files("/", "examples/chat/page");
    /// ```
    pub fn static_files(mut self, path: impl Into<String>, files: impl Into<StaticFiles>) -> Self {
        let prefix = path.into().trim_end_matches('/').to_owned();
        self.http.files.push((prefix, files.into()));
        self
    }

    /// Hands every other HTTP request to a tower service, such as an axum `Router`.
    ///
    /// Where it came from is an extension of the request: `nexios_engine::HttpPeer`.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// let pages = Router::new().route("/about", get(async || "A chat."));
    /// let app = nexios::App::new().fallback_service(pages);
    /// ```
    pub fn fallback_service<S, B>(mut self, service: S) -> Self
    where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: 'static,
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        self.http.fallback = Some(Arc::new(move |request| {
            let service = service.clone();
            Box::pin(async move { boxed(call(service, request).await) })
        }));
        self
    }
}

impl HttpRoutes {
    /// The answer to a request; `websocket`: a WebSocket route has this path, too.
    pub(crate) fn answer(
        &self,
        request: Request<RequestBody>,
        websocket: bool,
        places: &Places,
    ) -> Option<ResponseFuture> {
        if self.health.iter().any(|path| path == request.uri().path()) {
            return Some(Box::pin(std::future::ready(text(StatusCode::OK, "ok\n"))));
        }
        if self.files.is_empty() && self.fallback.is_none() {
            return None;
        }
        let (routes, places) = (self.clone(), places.clone());
        Some(Box::pin(async move { routes.search(request, websocket, &places).await }))
    }

    async fn search(self, request: Request<RequestBody>, websocket: bool, places: &Places) -> Response<ResponseBody> {
        for (prefix, files) in &self.files {
            let rest = request.uri().path().strip_prefix(prefix.as_str()).filter(|rest| rest.starts_with('/'));
            let Some(rest) = rest.map(str::to_owned) else { continue };
            // A path or a method that files do not have may be meant for the fallback.
            if let Some(response) = files.answer(&request, &rest, places).await {
                return response;
            }
        }
        match self.fallback {
            Some(fallback) => fallback(request).await,
            None if websocket => upgrade_required(),
            None => not_found(),
        }
    }
}

async fn call<S, R>(mut service: S, request: R) -> S::Response
where
    S: Service<R, Error = Infallible>,
{
    let Ok(()) = std::future::poll_fn(|cx| service.poll_ready(cx)).await;
    let Ok(response) = service.call(request).await;
    response
}

fn boxed<B>(response: Response<B>) -> Response<ResponseBody>
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    response.map(|body| body.map_err(Into::into).boxed_unsync())
}

fn text(status: StatusCode, text: &'static str) -> Response<ResponseBody> {
    let mut response = boxed(Response::new(http_body_util::Full::new(Bytes::from_static(text.as_bytes()))));
    *response.status_mut() = status;
    response
}
