//! From the first byte to the answer of the handshake.

use std::io;
use std::rc::Rc;

use nexios_protocol::{
    CloseCode, HandshakeError, HeadLimits, HeadReader, RequestHead, Role, check_upgrade, escaped, is_token, negotiate,
    write_accept,
};

use super::handshake::check_header;
use super::{
    Accept, AcceptError, CloseInfo, ConnectingPhase, Connection, ConnectionState, HttpPhase, Inner, Opened, Phase,
    Refusal, State, own_fields,
};
use crate::http;
use crate::metrics::Cause;
use crate::service::Step;
use crate::settings::{ServerSettings, Settings};
use crate::variant::Variant;

impl Connection {
    /// The subprotocols that the client offered, in its order of preference.
    pub fn offered_subprotocols(&self) -> Vec<String> {
        match &self.0.state.borrow().phase {
            Phase::Connecting(connecting) => connecting.subprotocols.clone(),
            _ => Vec::new(),
        }
    }

    /// Completes the handshake (RFC 6455 §4.2.2): the connection is then connected.
    ///
    /// # Errors
    /// [`AcceptError`]: answered already, a header that cannot be sent, or the client left.
    pub fn accept(&self, accept: Accept) -> Result<(), AcceptError> {
        self.0.switch_protocols(accept.subprotocol.as_deref(), &accept.headers)?;
        if accept.variant.is_plain() {
            self.0.shard.fanout.members_mut().join_router(&self.0);
        }
        self.0.shard.shared.metrics.connected();
        let mut state = self.0.state.borrow_mut();
        self.0.set_variant(&mut state, accept.variant);
        if !self.0.settings().keep_head {
            state.head = None;
        }
        self.0.arm_next_ping(&mut state);
        self.0.mark_ready(&mut state);
        Ok(())
    }

    /// Makes a connection of another variant than the plain one of its router's; nothing happens where it is not connected.
    pub fn enter(&self) {
        self.0.settle(&mut self.0.state.borrow_mut());
        if self.0.state.borrow().is_connected() {
            self.0.shard.fanout.members_mut().join_router(&self.0);
        }
    }

    /// Completes the handshake with a Close frame as the first and only frame, so that the
    /// client sees the code. Before it comes the service's farewell, if the variant is not the plain one. The connection never counts as connected.
    ///
    /// # Errors
    /// [`AcceptError`], as for [`accept`](Self::accept).
    pub fn accept_and_close(&self, accept: &Accept, code: CloseCode, reason: &str) -> Result<(), AcceptError> {
        self.0.switch_protocols(accept.subprotocol.as_deref(), &accept.headers)?;
        let mut state = self.0.state.borrow_mut();
        self.0.set_variant(&mut state, accept.variant);
        self.0.start_close(&mut state, code, reason);
        Ok(())
    }

    /// Answers by HTTP instead of 101, then hangs up.
    ///
    /// # Errors
    /// [`AcceptError`], as for [`accept`](Self::accept); a status that is no refusal's, or a header that contradicts
    /// what the server writes.
    pub fn refuse(&self, refusal: Refusal) -> Result<(), AcceptError> {
        let mut state = self.0.state.borrow_mut();
        match state.phase {
            // A refusal that is not flushed yet is an answer, too.
            Phase::Connecting(_) if state.ending.is_open() => {}
            _ => return Err(AcceptError::not_connecting(state.close_info())),
        }
        refusal.headers.iter().try_for_each(|(name, value)| check_header(name, value))?;
        let refusal = own_fields::check_refusal(refusal)?;
        self.0.shard.shared.metrics.refused(Cause::Handler);
        self.0.answer_and_hang_up(&mut state, &refusal, CloseInfo::cut());
        Ok(())
    }
}

impl Inner {
    fn set_variant(&self, state: &mut State, variant: Variant) {
        self.variant.set(variant);
        state.write.set_formed(!variant.is_plain());
    }

    /// Reads on until the head is complete.
    pub(super) fn read_head(self: &Rc<Self>) {
        let mut input = self.shard.buffers.input();
        loop {
            let mut state = self.state.borrow_mut();
            let state = &mut *state;
            let Phase::Head(reader) = &mut state.phase else { return };
            let n = match state.stream.read(input.space()) {
                Ok(0) => return self.cut(state),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::debug!(connection = %self.id(), error = %escaped(&error), "connection failed before its request");
                    return self.cut(state);
                }
            };
            input.filled(n);
            let limits = &self.shard.shared.settings;
            let limits = HeadLimits { head_bytes_max: limits.head_bytes_max, headers_max: limits.headers_max };
            match reader.push(input.left(), &limits) {
                Ok(None) => {}
                Ok(Some(head)) => {
                    let reader = std::mem::take(&mut **reader);
                    return self.take_request(state, head, reader);
                }
                Err(error) => return self.refuse_handshake(state, &error),
            }
        }
    }

    /// A whole head is there: an upgrade goes to the framework, anything else to hyper.
    fn take_request(self: &Rc<Self>, state: &mut State, head: RequestHead, reader: HeadReader) {
        state.clock.stop();
        if head.is_upgrade() {
            self.shard.lists.push_opened(self.token(), Opened::Upgrade(head, reader.rest().to_vec()));
        } else {
            state.phase = Phase::Http(Box::new(HttpPhase { prefix: reader.into_bytes(), ..Default::default() }));
            self.shard.lists.push_opened(self.token(), Opened::Http);
        }
    }

    /// Starts the handler of an upgrade request; called with nothing borrowed.
    pub(crate) fn open_upgrade(self: &Rc<Self>, head: RequestHead, early: Vec<u8>) {
        let Some(service) = self.shard.service() else { return };
        let upgrade = match check_upgrade(&head) {
            Ok(upgrade) => ConnectingPhase {
                accept_key: upgrade.accept_key,
                subprotocols: upgrade.subprotocols.iter().map(|name| (*name).to_owned()).collect(),
                offers: upgrade.deflate_offers,
                early,
            },
            Err(error) if service.has_websocket(head.path()) => {
                let mut state = self.state.borrow_mut();
                state.head = Some(Rc::new(head.clone()));
                return self.refuse_handshake(&mut state, &error);
            }
            Err(_) => return http::serve_upgrade_request(self, head, early),
        };
        let head = Rc::new(head);
        {
            let mut state = self.state.borrow_mut();
            if !state.ending.is_open() {
                return;
            }
            state.head = Some(head.clone());
            if !upgrade.early.is_empty() {
                state.busy();
            }
            state.phase = Phase::Connecting(Box::new(upgrade));
            self.note_held(&mut state);
        }
        if service.has_websocket(head.path()) && !self.enter_host(&service) {
            return;
        }
        match service.websocket(&Connection(self.clone())) {
            Some(task) => {
                self.arm_deadline(&mut self.state.borrow_mut(), self.settings().accept_timeout);
                self.start_task(task);
            }
            None => {
                let early = self.back_to_head();
                http::serve_upgrade_request(self, Rc::unwrap_or_clone(head), early);
            }
        }
    }

    fn back_to_head(&self) -> Vec<u8> {
        let mut state = self.state.borrow_mut();
        state.head = None;
        match std::mem::replace(&mut state.phase, Phase::Head(Box::default())) {
            Phase::Connecting(connecting) => connecting.early,
            _ => Vec::new(),
        }
    }

    /// Writes the 101 and goes over to frames.
    fn switch_protocols(
        self: &Rc<Self>,
        subprotocol: Option<&str>,
        headers: &[(String, String)],
    ) -> Result<(), AcceptError> {
        headers.iter().try_for_each(|(name, value)| check_header(name, value))?;
        own_fields::check_accept(headers)?;
        if let Some(name) = subprotocol.filter(|name| !is_token(name)) {
            return Err(AcceptError::InvalidHeader(name.into()));
        }
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let is_open = state.ending.is_open();
        let connecting = match &mut state.phase {
            Phase::Connecting(connecting) if is_open => connecting,
            _ => return Err(AcceptError::not_connecting(state.close_info())),
        };
        let settings = self.settings();
        let agreed = agree_on_compression(settings, &connecting.offers);
        let (agreed, extensions) = agreed.map_or((None, None), |(agreed, header)| (Some(agreed), Some(header)));
        let mut answer = Vec::with_capacity(192);
        write_accept(&mut answer, &connecting.accept_key, subprotocol, extensions.as_deref(), headers)
            .map_err(|error| AcceptError::InvalidHeader(error.to_string()))?;
        let early = std::mem::take(&mut connecting.early);
        state.phase = Phase::Open(nexios_protocol::Connection::new(Role::Server, agreed));
        state.write.agree(agreed.as_ref());
        if !early.is_empty() {
            state.rare().unread = early;
        }
        state.clock.stop();
        if let Some(bytes) = settings.kernel_bytes() {
            state.stream.limit_unsent(bytes);
        }
        self.write_own(state, |tail| tail.extend_from_slice(&answer));
        Ok(())
    }

    pub(crate) fn refuse_handshake(self: &Rc<Self>, state: &mut State, error: &HandshakeError) {
        let mut refusal = Refusal::new(error.status(), format!("{error}\n"));
        refusal.headers = error.response_headers().iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect();
        self.note_refusal(error);
        self.answer_and_hang_up(state, &refusal, CloseInfo::cut());
    }

    /// Counts and logs a request that is refused before anybody has seen it.
    pub(crate) fn note_refusal(&self, error: &HandshakeError) {
        self.shard.shared.metrics.refused(Cause::Handshake);
        if *error == HandshakeError::HeadTooLarge {
            let ServerSettings { head_bytes_max, headers_max, .. } = &self.shard.shared.settings;
            tracing::warn!(
                connection = %self.id(), head_bytes_max, headers_max,
                "request refused with 431: its head has more than head_bytes_max or headers_max allow"
            );
        } else {
            tracing::debug!(connection = %self.id(), status = error.status(), error = %escaped(&error), "handshake refused");
        }
    }

    /// Sends one HTTP answer and nothing after it: what follows on the connection is never
    /// parsed as a next request.
    pub(crate) fn answer_and_hang_up(self: &Rc<Self>, state: &mut State, refusal: &Refusal, info: CloseInfo) {
        self.note(Step::Refused(refusal.status));
        let answer = http::write_refusal(refusal, state.is_asked_by_head());
        self.write_own(state, |tail| tail.extend_from_slice(&answer));
        self.finish_with_last_word(state, info);
    }

    /// What became of a connection whose task ended: the last word if the framework had none.
    pub(crate) fn task_ended(self: &Rc<Self>, panicked: bool) {
        let mut state = self.state.borrow_mut();
        match state.connection_state() {
            ConnectionState::Connecting => {
                self.shard.shared.metrics.refused(Cause::Handler);
                self.answer_and_hang_up(
                    &mut state,
                    &Refusal::new(500, "the handler ended without an answer\n"),
                    CloseInfo::cut(),
                );
            }
            ConnectionState::Connected if panicked => self.start_close(&mut state, CloseCode::INTERNAL_ERROR, ""),
            ConnectionState::Connected => self.start_close(&mut state, CloseCode::NORMAL, ""),
            ConnectionState::Closing | ConnectionState::Disconnected => {
                // Nobody will take what is left in the inbox of a peer that hung up.
                if state.ending.has_hung_up() {
                    self.cut(&mut state);
                }
            }
        }
    }
}

fn agree_on_compression(
    settings: &Settings,
    offers: &[nexios_protocol::DeflateOffer],
) -> Option<(nexios_protocol::Agreed, String)> {
    let compression = settings.compression?;
    let config = nexios_protocol::DeflateConfig {
        takeover: compression.context_takeover,
        window_bits: compression.window_bits,
        level: compression.level,
        ..Default::default()
    };
    negotiate(&config, offers)
}

impl State {
    /// Returns true if the request is one whose answer has no body.
    fn is_asked_by_head(&self) -> bool {
        match &self.phase {
            Phase::Head(reader) if !reader.bytes().is_empty() => reader.bytes().starts_with(b"HEAD "),
            _ => self.head.as_ref().is_some_and(|head| head.method() == "HEAD"),
        }
    }
}
