//! The task behind a client: connection after connection, each told where the rooms stand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use crate::client::{Answer, COMMANDS_MAX, Client, Command, Event, Question, ROOMS_MAX, Shared};
use crate::connector::Connector;
use crate::error::{CloseReason, ConnectError, RequestError};
use crate::frame::{FromServer, Incoming, Message, ToServer};
use crate::retry::Retry;
use crate::room::RoomEvent;
use crate::transport::Transport;

const OPEN_MAX: Duration = Duration::from_secs(15);
const CLOSE_MAX: Duration = Duration::from_secs(2);
/// Questions without an answer at most: the server's limit.
const QUESTIONS_MAX: usize = 256;

pub(crate) struct Session {
    connector: Connector,
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    retry: Retry,
    /// Connections that were lost, and attempts that failed.
    attempts: usize,
    /// Asked and not answered, by number: on the next connection in the same order.
    questions: BTreeMap<u64, Asked>,
    next: u64,
}

struct Asked {
    frame: Message,
    again: bool,
    answer: oneshot::Sender<Result<Answer, RequestError>>,
}

/// Why a connection is not used any more.
enum End {
    /// The connection is over.
    Lost(CloseReason),
    /// The application wants another.
    Another,
    /// The application has closed the client, or dropped it.
    Closed(Option<oneshot::Sender<()>>),
}

impl Session {
    /// Connects for the first time; then the session has a task of its own.
    pub(crate) async fn start(connector: Connector) -> Result<Client, ConnectError> {
        connector.urls.iter().try_for_each(|url| Transport::check(url))?;
        let shared = Arc::<Shared>::default();
        for (room, position) in &connector.positions {
            shared.remember(room, position.clone());
        }
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let (retry, questions, next, attempts) = (Retry::default(), BTreeMap::new(), 1, 0);
        let mut session = Session { connector, shared: shared.clone(), commands, retry, attempts, questions, next };
        let transport = session.first().await?;
        tokio::spawn(session.run(transport));
        Ok(Client::new(shared, sender))
    }

    /// One attempt at each URL.
    async fn first(&mut self) -> Result<Transport, ConnectError> {
        loop {
            match self.open().await {
                Err(_) if self.attempts + 1 < self.connector.urls.len() => self.attempts += 1,
                opened => return opened,
            }
        }
    }

    async fn open(&mut self) -> Result<Transport, ConnectError> {
        let late = |_| ConnectError::Timeout(OPEN_MAX.as_secs());
        let (transport, retry_ms) = timeout(OPEN_MAX, self.greet()).await.map_err(late)??;
        self.retry.welcome(retry_ms);
        self.shared.tell(Event::Connected);
        Ok(transport)
    }

    /// Where the next attempt goes.
    fn url(&self) -> &str {
        let urls = &self.connector.urls;
        &urls[self.attempts % urls.len()]
    }

    /// Connects, says where the rooms stand, and waits for the welcome.
    async fn greet(&self) -> Result<(Transport, (u64, u64)), ConnectError> {
        let mut transport = Transport::open(&self.connector, self.url()).await?;
        let mut rooms = BTreeMap::new();
        for room in self.shared.rooms().into_iter().take(ROOMS_MAX) {
            room.reconnected();
            rooms.extend(room.received().map(|position| (room.name.clone(), position.to_string())));
        }
        let user_agent = concat!("nexios-client/", env!("CARGO_PKG_VERSION"), " rust");
        transport.send(&ToServer::Hello { rooms, user_agent }.with(&Message::empty()));
        loop {
            let message = transport.next().await.map_err(ConnectError::Closed)?;
            match Incoming::parse(message) {
                Ok(Incoming::Frame(FromServer::Welcome { retry_ms, .. }, _)) => return Ok((transport, retry_ms)),
                Ok(Incoming::Frame(FromServer::Closing { .. } | FromServer::Unknown, _)) => {}
                Ok(_) => return Err(ConnectError::Closed(CloseReason::lost("the server says no welcome"))),
                Err(error) => return Err(ConnectError::Closed(CloseReason::lost(error))),
            }
        }
    }

    async fn run(mut self, first: Transport) {
        let mut transport = Some(first);
        let told = loop {
            let end = match transport.take() {
                Some(mut connected) => {
                    let end = self.serve(&mut connected).await;
                    if let End::Closed(_) = end {
                        connected.close(CLOSE_MAX).await;
                    }
                    end
                }
                None => match self.reconnect().await {
                    Ok(connected) => {
                        transport = Some(connected);
                        continue;
                    }
                    Err(end) => end,
                },
            };
            match end {
                End::Closed(told) => break told,
                End::Lost(reason) if !reason.retry => {
                    self.lost(reason);
                    break None;
                }
                End::Lost(reason) => self.lost(reason),
                End::Another => self.lost(CloseReason::lost("the client wants another connection")),
            }
        };
        self.commands.close();
        self.fail(|_| true, &RequestError::Closed);
        self.shared.close();
        // Nobody has to wait for it.
        let _ = told.map(|told| told.send(()));
    }

    fn lost(&mut self, reason: CloseReason) {
        tracing::debug!(code = reason.code, reason = %nexios_protocol::escaped(&reason.reason), "the connection is lost");
        self.attempts = self.attempts.wrapping_add(1);
        self.fail(|asked| !asked.again, &RequestError::Disconnected);
        self.shared.tell(Event::Disconnected(reason));
    }

    fn fail(&mut self, is_failed: impl Fn(&Asked) -> bool, error: &RequestError) {
        for (_, asked) in self.questions.extract_if(.., |_, asked| is_failed(asked)) {
            // Who asked may have given up.
            let _ = asked.answer.send(Err(error.clone()));
        }
    }

    /// Attempt after attempt; meanwhile what needs no connection is done.
    async fn reconnect(&mut self) -> Result<Transport, End> {
        let mut code = nexios_protocol::ABNORMAL;
        loop {
            self.pause(code).await?;
            let opened = self.open().await;
            self.attempts = self.attempts.wrapping_add(usize::from(opened.is_err()));
            match opened {
                Ok(mut transport) => {
                    self.questions.values().for_each(|asked| transport.send(&asked.frame));
                    return Ok(transport);
                }
                Err(ConnectError::Closed(reason)) if !reason.retry => return Err(End::Lost(reason)),
                Err(ConnectError::Closed(reason)) => code = reason.code,
                Err(error @ (ConnectError::Url(_) | ConnectError::NotSpoken)) => {
                    return Err(End::Lost(CloseReason { retry: false, ..CloseReason::lost(error) }));
                }
                // A refusal by HTTP may be a proxy's whose server is away.
                Err(error) => tracing::debug!(%error, "no connection yet"),
            }
        }
    }

    async fn pause(&mut self, code: u16) -> Result<(), End> {
        let wait = sleep(self.retry.wait(code));
        tokio::pin!(wait);
        loop {
            tokio::select! {
                () = &mut wait => return Ok(()),
                command = self.commands.recv() => match command {
                    None => return Err(End::Closed(None)),
                    Some(Command::Close(told)) => return Err(End::Closed(Some(told))),
                    Some(Command::Ask(question)) if question.again => drop(self.note(question)),
                    Some(Command::Ask(question)) => _ = question.answer.send(Err(RequestError::Disconnected)),
                    Some(Command::Send(_, sent)) => _ = sent.send(Err(RequestError::Disconnected)),
                    Some(Command::ComeBack | Command::Drop) => {}
                },
            }
        }
    }

    async fn serve(&mut self, transport: &mut Transport) -> End {
        loop {
            tokio::select! {
                message = transport.next() => match message.map(Incoming::parse) {
                    Ok(Ok(incoming)) => if self.take(incoming) {
                        return End::Another;
                    },
                    Ok(Err(error)) => return End::Lost(CloseReason::lost(error)),
                    Err(reason) => return End::Lost(reason),
                },
                command = self.commands.recv(), if !transport.is_full() => match command {
                    None => return End::Closed(None),
                    Some(Command::Close(told)) => return End::Closed(Some(told)),
                    Some(Command::ComeBack | Command::Drop) => return End::Another,
                    Some(Command::Send(message, sent)) => {
                        transport.send(&message);
                        // Who sent it may have gone on.
                        let _ = sent.send(Ok(()));
                    }
                    Some(Command::Ask(question)) => {
                        if let Some(frame) = self.note(question) {
                            transport.send(frame);
                        }
                    }
                },
            }
        }
    }

    /// Gives a question its number; `None` where too many wait.
    fn note(&mut self, question: Question) -> Option<&Message> {
        if self.questions.len() >= QUESTIONS_MAX {
            // Who asked may have given up.
            let _ = question.answer.send(Err(RequestError::Busy));
            return None;
        }
        let id = self.next;
        self.next += 1;
        let frame = (question.header)(id).with(&question.payload);
        let asked = Asked { frame, again: question.again, answer: question.answer };
        Some(&self.questions.entry(id).or_insert(asked).frame)
    }

    /// `true` where it takes another connection to go on.
    fn take(&mut self, incoming: Incoming) -> bool {
        let (frame, payload) = match incoming {
            Incoming::Message(message) => {
                self.shared.tell(Event::Message(message));
                return false;
            }
            Incoming::Frame(FromServer::Gap { room, missed, offset }, _) => return self.gap(room, missed, offset),
            Incoming::Frame(frame, payload) => (frame, payload),
        };
        match frame {
            FromServer::Ack { id, position, duplicate } => {
                let position = position.and_then(|position| position.parse().ok());
                self.answer(id, Ok(Answer { payload, position, duplicate }));
            }
            FromServer::Reply { id } => self.answer(id, Ok(Answer { payload, position: None, duplicate: false })),
            FromServer::Error { id, code, message } => self.answer(id, Err(RequestError::Refused { code, message })),
            FromServer::Closing { retry_ms: Some(retry_ms), .. } => self.retry.closing(retry_ms),
            FromServer::Closing { .. } | FromServer::Welcome { .. } | FromServer::Unknown => {}
            frame => self.tell_room(frame, payload),
        }
        false
    }

    /// Where no room is named the broker was lost: rooms that remember go on by themselves.
    fn gap(&self, room: Option<String>, missed: Option<u64>, offset: Option<u64>) -> bool {
        let rooms = match room {
            Some(room) => vec![self.shared.room(&room)],
            None => self.shared.rooms().into_iter().filter(|room| room.received().is_none()).collect(),
        };
        rooms.iter().filter(|room| room.gap(missed, offset)).count() > 0
    }

    fn answer(&mut self, id: u64, answer: Result<Answer, RequestError>) {
        if let Some(asked) = self.questions.remove(&id) {
            // Who asked may have given up.
            let _ = asked.answer.send(answer);
        }
    }

    fn tell_room(&self, frame: FromServer, payload: Message) {
        match frame {
            FromServer::Message { room, offset, nonce } => {
                self.shared.room(&room).message(payload, offset.zip(nonce));
            }
            FromServer::Joined { room, position, recovered } => {
                let position = position.and_then(|position| position.parse().ok());
                let event = RoomEvent::Joined { recovered, position: position.clone() };
                self.shared.room(&room).stands(event, position);
            }
            FromServer::Reset { room, position } => {
                if let Ok(position) = position.parse::<crate::Position>() {
                    let event = RoomEvent::Reset { position: position.clone() };
                    self.shared.room(&room).stands(event, Some(position));
                }
            }
            FromServer::Left { room } => self.shared.room(&room).tell(RoomEvent::Left),
            FromServer::Presence { room, event, user, data } => {
                let joined = event == "join";
                self.shared.room(&room).tell(RoomEvent::Presence { joined, user, data });
            }
            _ => {}
        }
    }
}
