//! The task behind a client: it carries out the steps of the core, and reports the results to it.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::client::Client;
use crate::core::{Core, First, SUBPROTOCOL, Settings, Step};
use crate::end::{Cause, End};
use crate::error::Error;
use crate::event::Event;
use crate::feed::Progress;
use crate::json::Bigint;
use crate::position::Position;
use crate::positions::Positions;
use crate::source::Source;
use crate::storage::Storage;
use crate::transport::{Attempt, BoxFuture, Connection, DialError, Dialer, Ended, is_address};

/// The way to the server.
pub(crate) struct Route {
    pub(crate) urls: Vec<Source>,
    pub(crate) token: Option<Source>,
    pub(crate) headers: Vec<(String, String)>,
    /// Further subprotocols.
    pub(crate) protocols: Vec<Source<Vec<String>>>,
    pub(crate) dialer: Arc<dyn Dialer>,
}

/// The part of a client that the application and the session share.
pub(crate) struct Shared {
    core: Mutex<Core>,
    /// Notified when the session has something to do.
    wake: Notify,
    /// Notified when less waits to be written.
    drained: Notify,
    storage: Option<Arc<dyn Storage>>,
    /// The addresses of the last attempts.
    urls: Mutex<Vec<String>>,
    pub(crate) request_timeout: Option<Duration>,
    pub(crate) bigint: Bigint,
    is_over: watch::Sender<bool>,
}

/// Settings of the application's calls.
pub(crate) struct CallSettings {
    pub(crate) request_timeout: Option<Duration>,
    pub(crate) bigint: Bigint,
}

pub(crate) struct Session {
    shared: Arc<Shared>,
    route: Arc<Route>,
    connection: Option<Box<dyn Connection>>,
    dialling: Option<BoxFuture<Result<Box<dyn Connection>, Failure>>>,
    /// Connections in their closing handshake.
    closing: JoinSet<()>,
}

/// The reason there is no connection; `is_own` if it is reported to the application.
struct Failure {
    error: DialError,
    is_own: bool,
}

/// An event that the session waits for.
enum Happened {
    Woken,
    Timeout,
    Dialled(Result<Box<dyn Connection>, Failure>),
    Received(crate::Message),
    Ended(Ended),
}

impl Shared {
    /// Changes the core, and wakes the session.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Core) -> R) -> R {
        let result = act(&mut self.core.lock());
        self.wake.notify_one();
        result
    }

    /// Reads the core.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&Core) -> R) -> R {
        look(&self.core.lock())
    }

    /// Notes that consumers have handled events of a room.
    pub(crate) fn handled(&self, room: &str, progress: Progress) {
        if progress != Progress::default() {
            let is_closed = self.with(|core| {
                core.handled(Instant::now(), room, progress);
                core.is_closed()
            });
            // The session is over, or will be.
            if is_closed {
                self.store();
            }
        }
    }

    fn store(&self) {
        let Some(storage) = &self.storage else { return };
        let changes = self.core.lock().take_position_changes();
        if !changes.is_empty()
            && let Err(error) = storage.store(changes)
        {
            let error = Error::new("storage", format!("the storage has failed: {error}"));
            self.core.lock().tell(Event::Error(error));
        }
    }

    /// Returns the address whose turn it is, as it was last; empty before a function has made it.
    pub(crate) fn url(&self) -> String {
        let turn = self.look(Core::turn);
        let urls = self.urls.lock();
        urls.get(turn % urls.len().max(1)).cloned().unwrap_or_default()
    }

    /// Waits until less waits to be written.
    pub(crate) async fn until_drained(&self) {
        loop {
            let drained = self.drained.notified();
            if !self.look(Core::is_full) {
                return;
            }
            drained.await;
        }
    }

    /// Waits until the closing handshake is over.
    pub(crate) async fn until_over(&self) {
        // The sender is here.
        let _ = self.is_over.subscribe().wait_for(|is_over| *is_over).await;
    }
}

impl Session {
    pub(crate) fn start(
        route: Route,
        settings: Settings,
        stored: Vec<(String, Position)>,
        storage: Option<Arc<dyn Storage>>,
        calls: CallSettings,
        first: Option<First>,
    ) -> Client {
        let mut core = Core::new(settings, Positions::new(stored, storage.is_some()), Instant::now());
        first.into_iter().for_each(|first| core.wait_for_first(first));
        let fixed = |url: &Source| if let Source::Fixed(url) = url { url.clone() } else { String::new() };
        let shared = Arc::new(Shared {
            core: Mutex::new(core),
            wake: Notify::new(),
            drained: Notify::new(),
            storage,
            urls: Mutex::new(route.urls.iter().map(fixed).collect()),
            request_timeout: calls.request_timeout,
            bigint: calls.bigint,
            is_over: watch::Sender::new(false),
        });
        let (route, closing) = (Arc::new(route), JoinSet::new());
        let session = Session { shared: shared.clone(), route, connection: None, dialling: None, closing };
        tokio::spawn(session.run());
        Client::new(shared)
    }

    async fn run(mut self) {
        loop {
            self.work();
            self.shared.store();
            if self.shared.look(Core::is_closed) {
                break;
            }
            let happened = self.wait().await;
            self.tell(happened);
        }
        while self.closing.join_next().await.is_some() {}
        self.shared.store();
    }

    /// Carries out the steps of the core, as far as there is space for messages.
    fn work(&mut self) {
        loop {
            let mut core = self.shared.core.lock();
            let is_full = self.connection.as_ref().is_some_and(|connection| connection.is_full());
            if is_full && core.may_wait() {
                break;
            }
            let Some(step) = core.next_step() else { break };
            drop(core);
            self.perform(step);
        }
        self.shared.drained.notify_waiters();
    }

    fn perform(&mut self, step: Step) {
        match step {
            Step::Dial { turn } => self.dialling = Some(Box::pin(self.route.clone().dial(self.shared.clone(), turn))),
            Step::Send(message) => {
                if let Some(connection) = &mut self.connection {
                    connection.send(message);
                }
            }
            Step::Close { code, reason } => {
                self.dialling = None;
                if let Some(connection) = self.connection.take() {
                    self.closing.spawn(connection.close(code, reason));
                }
            }
            Step::Cut => (self.dialling, self.connection) = (None, None),
        }
    }

    async fn wait(&mut self) -> Happened {
        let until = self.shared.look(Core::next_timeout);
        let timeout = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let (shared, connection, dialling) = (&self.shared, &mut self.connection, &mut self.dialling);
        let network = std::future::poll_fn(|context| {
            if let Some(dialling) = dialling
                && let Poll::Ready(dialled) = dialling.as_mut().poll(context)
            {
                return Poll::Ready(Happened::Dialled(dialled));
            }
            let Some(connection) = connection else { return Poll::Pending };
            let was_full = connection.is_full();
            match connection.poll(context) {
                Poll::Ready(Ok(message)) => Poll::Ready(Happened::Received(message)),
                Poll::Ready(Err(ended)) => Poll::Ready(Happened::Ended(ended)),
                Poll::Pending if was_full && !connection.is_full() => Poll::Ready(Happened::Woken),
                Poll::Pending => Poll::Pending,
            }
        });
        tokio::select! {
            // Calls of the application are carried out between any two of these.
            biased;
            () = timeout => Happened::Timeout,
            happened = network => happened,
            () = shared.wake.notified() => Happened::Woken,
            Some(_) = self.closing.join_next() => Happened::Woken,
        }
    }

    fn tell(&mut self, happened: Happened) {
        let mut core = self.shared.core.lock();
        let now = Instant::now();
        match happened {
            Happened::Woken => {}
            Happened::Timeout => core.handle_timeout(now),
            Happened::Dialled(Ok(connection)) => {
                self.dialling = None;
                core.dialled(now, connection.subprotocol());
                self.connection = Some(connection);
            }
            Happened::Dialled(Err(failure)) => {
                self.dialling = None;
                if failure.is_own {
                    core.tell(Event::Error(Error::new("address", failure.error.to_string())));
                }
                core.dial_failed(now, End::from(failure.error));
            }
            Happened::Received(message) => core.received(now, message),
            Happened::Ended(ended) => {
                if !matches!(ended, Ended::Malformed(_)) {
                    self.connection = None;
                }
                core.connection_ended(now, ended);
            }
        }
    }
}

impl Drop for Session {
    /// Ends the client, after a function of the application has panicked as well.
    fn drop(&mut self) {
        self.shared.core.lock().close();
        self.shared.is_over.send_replace(true);
    }
}

impl Route {
    /// Opens a connection to the address whose turn it is.
    async fn dial(self: Arc<Self>, shared: Arc<Shared>, turn: usize) -> Result<Box<dyn Connection>, Failure> {
        let own = |what: &str| {
            let what = what.to_owned();
            move |error| Failure { error: DialError::Unreachable(format!("{what}: {error}")), is_own: true }
        };
        let index = turn % self.urls.len().max(1);
        let url = self.urls[index].get().await.map_err(own("there is no address"))?;
        if !is_address(&url) {
            return Err(own("invalid address")(format!("{url:?} must be ws://HOST or wss://HOST")));
        }
        shared.urls.lock()[index].clone_from(&url);
        let mut subprotocols = vec![SUBPROTOCOL.to_owned()];
        if let Some(token) = &self.token {
            let token = token.get().await.and_then(checked).map_err(own("there is no token"))?;
            subprotocols.extend(["bearer".to_owned(), token]);
        }
        for protocols in &self.protocols {
            let protocols = protocols.get().await.and_then(all_checked).map_err(own("there are no subprotocols"))?;
            subprotocols.extend(protocols);
        }
        let attempt = Attempt::new(url, subprotocols, self.headers.clone());
        self.dialer.dial(attempt).await.map_err(|error| Failure { error, is_own: false })
    }
}

/// Returns subprotocols that can be offered.
fn all_checked(protocols: Vec<String>) -> Result<Vec<String>, String> {
    protocols.into_iter().map(checked).collect()
}

/// Returns a token that can stand among subprotocols (RFC 9110 §5.6.2).
fn checked(token: String) -> Result<String, String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match token.bytes().all(is_allowed) && !token.is_empty() {
        true => Ok(token),
        // It is a secret.
        false => Err("it must have letters, digits and !#$%&'*+-.^_`|~ only".to_owned()),
    }
}

impl From<DialError> for End {
    fn from(error: DialError) -> Self {
        let end = End::lost(error.to_string());
        match error {
            DialError::Unreachable(_) => end,
            DialError::Refused { status, retry_after } => End { cause: Cause::Refused { status, retry_after }, ..end },
            DialError::Malformed(reason) => End::malformed(reason),
        }
    }
}
