//! Plain HTTP on the same port, by hyper on the connection's own stream.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use nexios_protocol::{HandshakeError, HeadLimits, RequestHead, escaped, is_host, split_target};

use crate::connection::{CloseInfo, Connection, HttpPhase, Inner, Phase, Refusal};
use crate::http_io::{EngineTimer, HttpIo};
use crate::metrics::Cause;
use crate::pace::{Pace, Stalled};
use crate::request_body::RequestBody;
use crate::service::{HttpPeer, Report, ResponseBody, ResponseFuture, Service, Step};

/// Serves the plain request that a connection began with, and those that follow it.
pub(crate) fn serve(inner: &Rc<Inner>) {
    if let Some(service) = inner.shard.service() {
        let task = drive(inner.clone(), service, true);
        inner.shard.spawn(Box::pin(task));
    }
}

/// Serves an upgrade request that no WebSocket route takes.
pub(crate) fn serve_upgrade_request(inner: &Rc<Inner>, head: RequestHead, early: Vec<u8>) {
    let Some(service) = inner.shard.service() else { return };
    let mut prefix = write_head(&head);
    prefix.extend_from_slice(&early);
    inner.state.borrow_mut().phase = Phase::Http(Box::new(HttpPhase { prefix, ..HttpPhase::default() }));
    inner.shard.spawn(Box::pin(drive(inner.clone(), service, false)));
}

/// An HTTP/1.1 answer after which the connection closes. One without a body has none and says nothing of its length: to
/// `HEAD`, and by its status (RFC 9110 §6.4.1).
pub(crate) fn write_refusal(refusal: &Refusal, to_head: bool) -> Vec<u8> {
    let reason = StatusCode::from_u16(refusal.status).ok().and_then(|status| status.canonical_reason());
    let mut out = format!("HTTP/1.1 {} {}\r\n", refusal.status, reason.unwrap_or("Refused")).into_bytes();
    for (name, value) in &refusal.headers {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    let has_type = refusal.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    if to_head || [204, 304].contains(&refusal.status) {
        out.extend_from_slice(b"Connection: close\r\n\r\n");
        return out;
    }
    if !has_type && !refusal.body.is_empty() {
        out.extend_from_slice(b"Content-Type: text/plain; charset=utf-8\r\n");
    }
    out.extend_from_slice(format!("Content-Length: {}\r\nConnection: close\r\n\r\n", refusal.body.len()).as_bytes());
    out.extend_from_slice(&refusal.body);
    out
}

/// An upgrade that came on a kept-alive connection, on its way out of hyper.
type Takeover = Rc<RefCell<Option<RequestHead>>>;

async fn drive(inner: Rc<Inner>, service: Rc<dyn Service>, may_upgrade: bool) {
    let takeover = Takeover::default();
    let limits = &inner.shard.shared.settings;
    let peer = http_peer(&inner);
    let pace = Rc::new(RefCell::new(Pace::new(limits)));
    // The first head was measured as it came.
    let bytes_max = Cell::new(usize::MAX);
    let bytes_max_of_next = limits.head_bytes_max;
    let answer = {
        let (inner, takeover, pace) = (inner.clone(), takeover.clone(), pace.clone());
        hyper::service::service_fn(move |request: Request<Incoming>| {
            let progress = pace.borrow_mut().begins();
            let mut request = request.map(|body| RequestBody::new(body, progress));
            let report = service.report(&Connection(inner.clone()), &request, peer);
            let answer = match admit(&mut request, bytes_max.replace(bytes_max_of_next)) {
                Err(error) => refuse(&inner, &error),
                Ok(Some(head)) if may_upgrade && service.has_websocket(head.path()) => {
                    *takeover.borrow_mut() = Some(head);
                    return Box::pin(std::future::pending()) as Answer;
                }
                Ok(Some(_)) => last(answer(&inner, &service, peer, request)),
                Ok(None) => answer(&inner, &service, peer, request),
            };
            reported(answer, report)
        })
    };
    let mut connection = http1::Builder::new()
        .timer(EngineTimer(inner.shard.sleeps().clone()))
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head_bytes_max.max(8 << 10))
        .max_headers(limits.headers_max)
        .serve_connection(HttpIo { inner: inner.clone(), pace: pace.clone() }, answer);
    let end = poll_fn(|cx| {
        if inner.is_draining_http(cx.waker()) {
            Pin::new(&mut connection).graceful_shutdown();
        }
        match connection.poll_without_shutdown(cx) {
            Poll::Pending => match takeover.borrow_mut().take() {
                Some(head) => Poll::Ready(End::Upgrade(head)),
                None => pace.borrow_mut().poll_stalled(inner.shard.sleeps(), cx).map(End::Stalled),
            },
            Poll::Ready(result) => {
                match result {
                    // hyper has answered 431.
                    Err(error) if error.is_parse_too_large() => {
                        inner.note_refusal(&HandshakeError::HeadTooLarge);
                        inner.note(Step::Refused(431));
                    }
                    Err(error) => {
                        // hyper has answered 400.
                        if error.is_parse() {
                            inner.note(Step::Refused(400));
                        }
                        tracing::debug!(connection = %inner.id(), error = %escaped(&error), "HTTP connection ended")
                    }
                    Ok(()) => {}
                }
                Poll::Ready(End::Done)
            }
        }
    })
    .await;
    match end {
        End::Upgrade(head) => {
            let early = connection.into_parts().read_buf.to_vec();
            inner.state.borrow_mut().phase = Phase::Head(Box::default());
            inner.open_upgrade(head, early);
        }
        End::Stalled(stalled) => {
            // What it holds, files and tasks of applications, ends first.
            drop(connection);
            inner.give_up_http(stalled);
        }
        End::Done => inner.end_http(),
    }
}

/// How hyper's part in a connection ends.
enum End {
    /// All is answered, or it is broken.
    Done,
    Upgrade(RequestHead),
    /// The client does not go on.
    Stalled(Stalled),
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, std::convert::Infallible>>>>;

/// The service's answer, or 426 for a path that speaks WebSocket only, or 404.
fn answer(inner: &Rc<Inner>, service: &Rc<dyn Service>, peer: HttpPeer, mut request: Request<RequestBody>) -> Answer {
    request.extensions_mut().insert(inner.id());
    let websocket = service.has_websocket(request.uri().path());
    match service.clone().http(request, peer) {
        Some(response) => Box::pin(caught(inner.clone(), response)),
        None if websocket => Box::pin(std::future::ready(Ok(upgrade_required()))),
        None => Box::pin(std::future::ready(Ok(not_found()))),
    }
}

/// Calls the report, if there is one, when the answer begins.
fn reported(answer: Answer, report: Option<Report>) -> Answer {
    let Some(report) = report else { return answer };
    Box::pin(async move {
        let response = answer.await?;
        report(response.status().as_u16());
        Ok(response)
    })
}

/// Checks what hyper leaves to its users: the size of the head, the host, the form of the target. Returns the head as
/// ours where it asks for a WebSocket. A request with an absolute target becomes one with its path and that host.
fn admit(request: &mut Request<RequestBody>, bytes_max: usize) -> Result<Option<RequestHead>, HandshakeError> {
    if head_bytes(request) > bytes_max {
        return Err(HandshakeError::HeadTooLarge);
    }
    if !names_its_host(request) {
        return Err(HandshakeError::Host);
    }
    if request.uri().authority().is_some() || !request.uri().path().starts_with('/') {
        bring_into_origin_form(request).ok_or(HandshakeError::Target)?;
    }
    upgrade_head(request)
}

/// RFC 9112 §3.2: an HTTP/1.1 request has one `Host`; one of HTTP/1.0 may have none.
fn names_its_host<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => is_host(host.as_bytes()),
        (None, _) => request.version() < http::Version::HTTP_11,
        (Some(_), Some(_)) => false,
    }
}

/// RFC 9112 §3.2.2: the host of an absolute target counts, and not the field. `None`: the target has no form of ours.
fn bring_into_origin_form<B>(request: &mut Request<B>) -> Option<()> {
    let target = request.uri().to_string();
    if let (Some(authority), rest) = split_target(request.method().as_str(), &target)? {
        let host = HeaderValue::from_str(authority).ok()?;
        request.headers_mut().insert(header::HOST, host);
        let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
        *request.uri_mut() = rest.parse().ok()?;
    }
    Some(())
}

/// The bytes of a head, if its client writes it as most do.
fn head_bytes<B>(request: &Request<B>) -> usize {
    let target = request.uri().path_and_query().map_or(1, |target| target.as_str().len());
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    request.method().as_str().len() + target + "  HTTP/1.1\r\n\r\n".len() + fields.sum::<usize>()
}

/// The answer to a request that is not valid, after which the connection ends.
fn refuse(inner: &Rc<Inner>, error: &HandshakeError) -> Answer {
    inner.note_refusal(error);
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
    last(Box::pin(std::future::ready(Ok(plain(status, format!("{error}\n"))))))
}

fn http_peer(inner: &Inner) -> HttpPeer {
    let stream = &inner.state.borrow().stream;
    HttpPeer { address: inner.peer(), local: stream.local_address(), tls: stream.is_tls() }
}

/// The answer to an upgrade that is not taken: what follows is never parsed as a next request.
fn last(answer: Answer) -> Answer {
    Box::pin(async move {
        let mut response = answer.await?;
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        Ok(response)
    })
}

/// A panic in an HTTP handler is a 500, not the end of the shard.
async fn caught(
    inner: Rc<Inner>,
    mut response: ResponseFuture,
) -> Result<Response<ResponseBody>, std::convert::Infallible> {
    let result = poll_fn(|cx| {
        let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| response.as_mut().poll(cx)));
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(response)) => Poll::Ready(Some(response)),
            Err(_) => Poll::Ready(None),
        }
    });
    Ok(result.await.unwrap_or_else(|| {
        inner.shard.shared.metrics.closed(crate::metrics::Cause::Panic);
        tracing::error!(connection = %inner.id(), "an HTTP handler panicked");
        plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
    }))
}

/// The answer to a plain request on a path that speaks WebSocket only: 426 (RFC 9110 §15.5.22).
pub fn upgrade_required() -> Response<ResponseBody> {
    let mut response = plain(StatusCode::UPGRADE_REQUIRED, "this path speaks WebSocket\n");
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    response
}

/// The answer to a request for a path that nobody serves: 404.
pub fn not_found() -> Response<ResponseBody> {
    plain(StatusCode::NOT_FOUND, "nothing is at this path\n")
}

/// The answer to a request that is not valid: 400.
pub fn bad_request(text: &'static str) -> Response<ResponseBody> {
    plain(StatusCode::BAD_REQUEST, text)
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<ResponseBody> {
    let body = Full::new(text.into()).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// The head of an upgrade request, from hyper's form back into ours.
fn upgrade_head<B>(request: &Request<B>) -> Result<Option<RequestHead>, HandshakeError> {
    if !request.headers().contains_key(header::UPGRADE) {
        return Ok(None);
    }
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let mut bytes = format!("{} {} {:?}\r\n", request.method(), target, request.version()).into_bytes();
    for (name, value) in request.headers() {
        push_header(&mut bytes, name.as_str(), value.as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    // The limits have been kept to.
    let limits = HeadLimits { head_bytes_max: usize::MAX, headers_max: request.headers().len() };
    Ok(RequestHead::parse(&bytes, &limits)?.map(|(head, _)| head).filter(RequestHead::is_upgrade))
}

/// Our form of a head, back into bytes.
fn write_head(head: &RequestHead) -> Vec<u8> {
    let mut bytes = format!("{} {} HTTP/1.{}\r\n", head.method(), head.target(), head.minor_version()).into_bytes();
    for (name, value) in head.headers() {
        push_header(&mut bytes, name, value);
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

fn push_header(bytes: &mut Vec<u8>, name: &str, value: &[u8]) {
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(b": ");
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(b"\r\n");
}

impl Inner {
    /// Asks hyper to finish the answer under way and then stop.
    pub(crate) fn close_idle_http(self: &Rc<Self>) {
        if let Phase::Http(http) = &mut self.state.borrow_mut().phase {
            http.draining = true;
            http.driver.take().into_iter().for_each(Waker::wake);
        }
    }

    fn is_draining_http(&self, waker: &Waker) -> bool {
        match &mut self.state.borrow_mut().phase {
            Phase::Http(http) => {
                http.driver = Some(waker.clone());
                http.draining
            }
            _ => false,
        }
    }

    /// The client does not go on: 408 where nothing is answered yet, else the connection is reset.
    fn give_up_http(self: &Rc<Self>, stalled: Stalled) {
        self.shard.shared.metrics.closed(Cause::SlowHttp);
        tracing::debug!(connection = %self.id(), ?stalled, "an HTTP client was too slow: see http_stall_timeout");
        if stalled == Stalled::Answer {
            let mut state = self.state.borrow_mut();
            self.finish(&mut state, CloseInfo::cut());
            return self.release(&mut state, true);
        }
        let answer = write_refusal(&Refusal::new(408, "the request took too long\n"), false);
        // The client may have gone; whether it reads this is its affair.
        {
            let stream = &mut self.state.borrow_mut().stream;
            let _ = stream.write_vectored(&[std::io::IoSlice::new(&answer)]).and_then(|_| stream.flush());
        }
        self.end_http();
    }

    fn end_http(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        if matches!(state.phase, Phase::Http(_)) {
            state.stream.shutdown_write();
            state.phase = Phase::Lingering;
            state.ending.answer();
            let timeout = self.settings().close_timeout;
            self.arm_deadline(&mut state, timeout);
            self.mark_ready(&mut state);
        }
    }
}
