//! Accepting: the answer 101, then the connect listeners.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::broker::Entering;
use crate::connection::auth;
use crate::connection::websocket::{Mark, WebSocket};
use crate::error::Result;
use crate::live;
use crate::routing::handler::LocalFuture;

/// What goes into the answer to a handshake: [`WebSocket::accept_with`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Accept {
    subprotocol: Option<String>,
    headers: Vec<(String, String)>,
}

/// The application picked a subprotocol that the client did not offer (RFC 6455 §4.2.2).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the client did not offer the subprotocol {0:?}")]
pub struct SubprotocolNotOffered(pub String);

/// The application picked `nexios.v1` on a route whose clients may not speak it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the subprotocol \"nexios.v1\" needs live to be true on the route, a router or the app")]
pub struct NotLive;

/// Accepts when it is awaited: [`WebSocket::accept`].
#[must_use = "the handshake is answered when this is awaited"]
pub struct Accepting<'a> {
    ws: &'a WebSocket,
    stage: Stage,
}

enum Stage {
    Unanswered(Option<Box<Accept>>),
    /// A client that speaks `nexios.v1` has the first word.
    Hello(LocalFuture<Result>),
    /// The first client of a router waits until what other nodes send to it arrives.
    Entering(LocalFuture<()>),
    Listeners(LocalFuture<Result>),
    Done,
}

impl Accept {
    /// The route's own answer.
    pub fn new() -> Self {
        Accept::default()
    }

    /// This subprotocol, instead of the first of the client's that the route speaks.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocol = Some(name.into());
        self
    }

    /// One more header field.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

impl<'a> Accepting<'a> {
    pub(crate) fn new(ws: &'a WebSocket, accept: Option<Box<Accept>>) -> Self {
        Accepting { ws, stage: Stage::Unanswered(accept) }
    }

    fn answer(&mut self, accept: Option<Box<Accept>>) -> Result {
        answer(self.ws, accept.map(|accept| *accept).unwrap_or_default())?;
        match live::is_live(self.ws.connection()) {
            true => self.stage = Stage::Hello(Box::pin(live::await_hello(self.ws.clone()))),
            false => self.enter(),
        }
        Ok(())
    }

    fn enter(&mut self) {
        match enter(self.ws) {
            Some(entering) => self.stage = Stage::Entering(Box::pin(entering.done())),
            None => self.listen(),
        }
    }

    fn listen(&mut self) {
        self.stage = match self.ws.route().listeners.connect.is_empty() {
            true => Stage::Done,
            false => Stage::Listeners(Box::pin(run_listeners(self.ws.clone()))),
        };
    }

    /// From now on messages and the end are told to their listeners.
    fn opened(&mut self) {
        self.stage = Stage::Done;
        self.ws.opens();
    }
}

impl Future for Accepting<'_> {
    type Output = Result;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result> {
        let this = &mut *self;
        if let Stage::Unanswered(accept) = &mut this.stage {
            let accept = accept.take();
            this.answer(accept)?;
        }
        if let Stage::Hello(hello) = &mut this.stage {
            let said = ready!(hello.as_mut().poll(cx));
            this.stage = Stage::Done;
            said?;
            this.enter();
        }
        if let Stage::Entering(entering) = &mut this.stage {
            ready!(entering.as_mut().poll(cx));
            this.listen();
        }
        let heard = match &mut this.stage {
            Stage::Listeners(listeners) => ready!(listeners.as_mut().poll(cx)),
            _ => Ok(()),
        };
        this.opened();
        Poll::Ready(heard)
    }
}

/// Given up while the connect listeners ran: the connection is open all the same.
impl Drop for Accepting<'_> {
    fn drop(&mut self) {
        if matches!(self.stage, Stage::Entering(_) | Stage::Listeners(_)) {
            self.opened();
        }
    }
}

/// With a broker: tells it of a client that has connected.
pub(crate) fn enter(ws: &WebSocket) -> Option<Entering> {
    let route = ws.route();
    route.switchboard.enter_router(route.group.id())
}

pub(crate) fn answer(ws: &WebSocket, accept: Accept) -> Result {
    let route = ws.route();
    let offered = ws.subprotocols();
    let subprotocol = match accept.subprotocol {
        Some(name) if name == live::SUBPROTOCOL && !route.live => return Err(NotLive.into()),
        Some(name) if auth::without_token(&offered).any(|offer| offer == name) => Some(name),
        Some(name) => return Err(SubprotocolNotOffered(name).into()),
        None => auth::pick_subprotocol(&offered, &route.subprotocols, route.live),
    };
    if !route.settings.keep_head && route.pattern.has_params() {
        ws.keep_params();
    }
    let variant = live::variant_of(subprotocol.as_deref());
    let answer = nexios_engine::Accept { subprotocol: subprotocol.clone(), headers: accept.headers, variant };
    ws.connection().accept(answer)?;
    if let Some(access) = ws.service().as_ref().and_then(|service| service.access()) {
        access.accepted(ws.id());
    }
    match subprotocol {
        Some(subprotocol) => ws.set_subprotocol(subprotocol),
        None if offered.iter().any(|name| name == live::SUBPROTOCOL) => {
            let route = &*route.path;
            tracing::warn!(connection = %ws.id(), route, "the client offered nexios.v1, and neither route nor app is live");
        }
        None if !offered.is_empty() => {
            tracing::warn!(connection = %ws.id(), route = route.path, "the client offered subprotocols and got none");
        }
        None => {}
    }
    if !variant.is_plain() || route.observes() {
        ws.observe();
    }
    if !route.listeners.dropped.is_empty() {
        ws.mark(Mark::Registered);
        ws.service().into_iter().for_each(|service| service.client_ids().borrow_mut().watch(ws.clone()));
    }
    Ok(())
}

async fn run_listeners(ws: WebSocket) -> Result {
    for listener in &ws.route().listeners.connect {
        listener(ws.clone()).await?;
    }
    Ok(())
}
