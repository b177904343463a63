//! Nodes with real clients.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use nexios::broker::{Broker, BrokerMetrics, Gap, Position};
use nexios::{App, AppHandle, Message, Outcome, Room, Running, Serve, WebSocket, WsRouter, presence::PresenceEvent};
use parking_lot::Mutex;
use tungstenite::stream::MaybeTlsStream;

/// More than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than a message takes that should not come.
const SILENCE: Duration = Duration::from_millis(300);

pub(crate) struct Node {
    pub(crate) app: AppHandle,
    pub(crate) chat: nexios::RouterHandle,
    gaps: Arc<Mutex<Vec<Gap>>>,
    came_and_went: Arc<Mutex<Vec<String>>>,
    running: Running,
}

/// A client; a thread reads what it gets.
pub(crate) struct Client {
    pub(crate) id: String,
    received: Receiver<Message>,
    socket: TcpStream,
}

/// Joins the room of the first message under the client id of the path, says its id, and leaves
/// when it is told to.
async fn chat(ws: WebSocket) -> nexios::Result {
    ws.set_client_id(ws.path_param::<String>("name")?);
    ws.accept().await?;
    let room = ws.receive_text().await?;
    ws.join(&room).await;
    ws.send_text(ws.id().to_string()).await?;
    ws.receive_text().await?;
    ws.leave(&room).await;
    ws.send_text("left").await?;
    ws.wait_closed().await;
    Ok(())
}

/// Joins the room of the query; then for each message broadcasts it to the room and says itself that it has.
async fn line(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    let room = ws.query("room").unwrap_or_default();
    ws.join(&room).await;
    ws.send_text("joined").await?;
    loop {
        let text = ws.receive_text().await?;
        let outcome = ws.app().room(&room).broadcast(format!("said {text}")).await;
        ws.send_text(format!("sent {text} {}", outcome.accepted)).await?;
    }
}

/// Joins a room with history from a position on, says whether what was missed came, and where it is.
async fn resume(ws: WebSocket) -> nexios::Result {
    ws.set_client_id(ws.path_param::<String>("name")?);
    ws.accept().await?;
    let room = ws.query("room").unwrap_or_default();
    let since = ws.query("since").map(|text| text.parse()).transpose()?;
    if let Some(joined) = ws.join_from(&room, since).await {
        ws.send_text(format!("joined {} {}", joined.recovered, joined.position)).await?;
    }
    ws.wait_closed().await;
    Ok(())
}

/// Is taken out of a room with history while it enters it; says whether it was on its way, in how many rooms it is
/// then, and after it has joined again.
async fn taken_out(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    let room = ws.query("room").unwrap_or_default();
    let mut joining = Box::pin(ws.join(&room));
    let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(joining.as_mut().poll(cx))).await;
    ws.leave(&room).await;
    let is_in = match polled {
        std::task::Poll::Pending => joining.await,
        std::task::Poll::Ready(is_in) => is_in,
    };
    let rooms = ws.rooms().len();
    let again = ws.join(&room).await;
    ws.send_text(format!("{} {is_in} {rooms} {again} {}", polled.is_pending(), ws.rooms().len())).await?;
    ws.wait_closed().await;
    Ok(())
}

/// The same, and its presence shows the client, with its path as data.
async fn present(ws: WebSocket) -> nexios::Result {
    ws.set_client_id(ws.path_param::<String>("name")?);
    ws.accept().await?;
    let room = ws.receive_text().await?;
    ws.join(&room).await;
    ws.app().room(&room).track(&ws, &ws.path()).await?;
    ws.send_text(ws.id().to_string()).await?;
    ws.receive_text().await?;
    ws.leave(&room).await;
    ws.send_text("left").await?;
    ws.wait_closed().await;
    Ok(())
}

impl Node {
    pub(crate) fn start(broker: Broker) -> Self {
        Node::serve(App::new().broker(broker))
    }

    /// Serves an app with or without a broker.
    pub(crate) fn serve(app: App) -> Self {
        let gaps = Arc::<Mutex<Vec<Gap>>>::default();
        let heard = gaps.clone();
        let came_and_went = Arc::<Mutex<Vec<String>>>::default();
        let (came, went) = (came_and_went.clone(), came_and_went.clone());
        let router = WsRouter::with_prefix("/chat")
            .named("chat")
            .ws("/{name}", chat)
            .ws("/{name}/resume", resume)
            .ws("/{name}/line", line)
            .ws("/{name}/taken-out", taken_out)
            .ws("/present/{name}", present);
        let chat = router.handle();
        let app = app.mount(router).on_gap(move |gap: Gap| {
            heard.lock().push(gap);
            std::future::ready(())
        });
        let app = app.on_join(move |event: PresenceEvent| {
            came.lock().push(format!("+{} {}", event.user, event.here));
            std::future::ready(())
        });
        let app = app.on_leave(move |event: PresenceEvent| {
            went.lock().push(format!("-{} {}", event.user, event.here));
            std::future::ready(())
        });
        let app = app.settings(|settings| settings.outbox_bytes_max = 64 << 20);
        let handle = app.handle();
        let running = app.start(Serve::tcp("127.0.0.1:0").shards(1)).unwrap();
        Node { app: handle, chat, gaps, came_and_went, running }
    }

    pub(crate) fn room(&self, name: &str) -> Room {
        self.app.room(name)
    }

    pub(crate) fn client(&self, room: &str, name: &str) -> Client {
        Client::connect(self.running.addresses()[0], room, name)
    }

    /// A client of a room with history; its first messages are what it missed.
    pub(crate) fn resume(&self, room: &str, name: &str, since: Option<Position>) -> Client {
        let (websocket, socket) = self.open_resuming(room, name, since);
        Client::of(websocket, socket)
    }

    /// The same, without anybody who reads.
    pub(crate) fn open_resuming(&self, room: &str, name: &str, since: Option<Position>) -> (Socket, TcpStream) {
        let since = since.map(|since| format!("&since={since}")).unwrap_or_default();
        open(&format!("ws://{}/chat/{name}/resume?room={room}{since}", self.running.addresses()[0]))
    }

    /// A client that the application takes out of a room while it enters it; returns what its handler says.
    pub(crate) fn taken_out(&self, room: &str) -> String {
        let url = format!("ws://{}/chat/ann/taken-out?room={room}", self.running.addresses()[0]);
        open(&url).0.read().unwrap().into_text().unwrap().to_string()
    }

    /// A client whose handler broadcasts to its room what it sends.
    pub(crate) fn talker(&self, room: &str) -> (Socket, TcpStream) {
        let (mut websocket, socket) = open(&format!("ws://{}/chat/ann/line?room={room}", self.running.addresses()[0]));
        assert_eq!(websocket.read().unwrap().into_text().unwrap(), "joined");
        (websocket, socket)
    }

    /// A client that the room's presence shows.
    pub(crate) fn present(&self, room: &str, name: &str) -> Client {
        Client::connect(self.running.addresses()[0], room, &format!("present/{name}"))
    }

    /// Who is in a room: users with their connections.
    pub(crate) fn presence(&self, room: &str) -> Vec<(String, usize)> {
        let row = |present: nexios::presence::Present| {
            assert!(present.data.as_str().starts_with("\"/chat/present/"), "{}", present.data);
            (present.user.to_string(), present.connections)
        };
        wait(self.room(room).presence()).into_iter().map(row).collect()
    }

    pub(crate) fn wait_for_presence(&self, room: &str, users: &[(&str, usize)]) {
        let users: Vec<(String, usize)> = users.iter().map(|(user, count)| ((*user).to_owned(), *count)).collect();
        let what = format!("right: {:?} are there, {:?} are seen", users, self.presence(room));
        self.wait_until(&what, |node| node.presence(room) == users);
    }

    /// Who came (`+`) and went (`-`), and whether it was here.
    pub(crate) fn came_and_went(&self) -> Vec<String> {
        self.came_and_went.lock().clone()
    }

    pub(crate) fn metrics(&self) -> BrokerMetrics {
        self.app.broker_metrics().unwrap()
    }

    pub(crate) fn gaps(&self) -> Vec<Gap> {
        self.gaps.lock().clone()
    }

    /// The messages that are said to be missing.
    pub(crate) fn missed(&self) -> u64 {
        self.gaps().iter().filter_map(|gap| gap.missed).sum()
    }

    pub(crate) fn wait_until(&self, what: &str, holds: impl Fn(&Node) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < end, "still not {what}: {:?}, gaps {:?}", self.metrics(), self.gaps());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

pub(crate) type Socket = tungstenite::WebSocket<MaybeTlsStream<TcpStream>>;

fn open(url: &str) -> (Socket, TcpStream) {
    let (websocket, _) = tungstenite::connect(url).unwrap();
    let MaybeTlsStream::Plain(socket) = websocket.get_ref() else { panic!("TLS") };
    let socket = socket.try_clone().unwrap();
    (websocket, socket)
}

impl Client {
    fn connect(address: SocketAddr, room: &str, name: &str) -> Self {
        let url = format!("ws://{address}/chat/{name}");
        let (mut websocket, socket) = open(&url);
        websocket.send(tungstenite::Message::text(room)).unwrap();
        let mut client = Client::of(websocket, socket);
        client.id = client.next();
        client
    }

    fn of(mut websocket: Socket, socket: TcpStream) -> Self {
        let (sender, received) = channel();
        std::thread::spawn(move || {
            loop {
                let message = match websocket.read() {
                    Ok(tungstenite::Message::Text(text)) => Message::from(text.as_str()),
                    Ok(tungstenite::Message::Binary(bytes)) => Message::from(&bytes[..]),
                    Ok(_) => continue,
                    Err(_) => return,
                };
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        Client { id: String::new(), received, socket }
    }

    /// What it missed, whether that is all, and where it is then.
    pub(crate) fn joined(&self) -> (Vec<String>, bool, Position) {
        let mut missed = Vec::new();
        loop {
            let text = self.next();
            let Some(joined) = text.strip_prefix("joined ") else {
                missed.push(text);
                continue;
            };
            let (recovered, position) = joined.split_once(' ').unwrap();
            return (missed, recovered == "true", position.parse().unwrap());
        }
    }

    /// All texts until there are no more for a while.
    pub(crate) fn texts(&self, quiet: Duration) -> Vec<String> {
        std::iter::from_fn(|| self.received.recv_timeout(quiet).ok())
            .map(|message| message.as_text().unwrap().to_owned())
            .collect()
    }

    pub(crate) fn message(&self) -> Message {
        self.received.recv_timeout(PATIENCE).expect("a message")
    }

    pub(crate) fn next(&self) -> String {
        self.message().as_text().expect("a text").to_owned()
    }

    pub(crate) fn expect<const N: usize>(&self, messages: [&str; N]) {
        let got: Vec<String> = messages.iter().map(|_| self.next()).collect();
        assert_eq!(got, messages);
    }

    pub(crate) fn expect_nothing(&self) {
        assert_eq!(self.received.recv_timeout(SILENCE), Err(RecvTimeoutError::Timeout));
    }

    /// Leaves the room.
    pub(crate) fn leave(&mut self) {
        use std::io::Write;
        // A masked text of one byte; the mask is zero.
        self.socket.write_all(&[0x81, 0x81, 0, 0, 0, 0, b'x']).unwrap();
        self.expect(["left"]);
    }

    /// All numbered messages until there are no more for a while, by sender; in order and none twice.
    pub(crate) fn numbered(&self, quiet: Duration) -> HashMap<String, Vec<u64>> {
        let mut all = HashMap::<String, Vec<u64>>::new();
        while let Ok(message) = self.received.recv_timeout(quiet) {
            let (sender, number) = message.as_text().unwrap().split_once(' ').unwrap();
            let numbers = all.entry(sender.to_owned()).or_default();
            let number = number.split_whitespace().next().unwrap().parse().unwrap();
            assert!(numbers.last().is_none_or(|last| *last < number), "{sender}: {number} after {:?}", numbers.last());
            numbers.push(number);
        }
        all
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // The reading thread ends.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

/// Runs a broadcast to its end.
pub(crate) fn send(broadcast: impl IntoFuture<Output = Outcome>) -> Outcome {
    wait(broadcast)
}

/// Runs anything to its end.
pub(crate) fn wait<T>(future: impl IntoFuture<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future.into_future())
}
