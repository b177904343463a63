//! A chat: sign in with a name and a token, rooms, direct messages, typing, who is here.
//!
//! `cargo run --release --example chat`, then open http://127.0.0.1:8000 in two windows. With
//! `NEXIOS_BROKER=redis://…` several of them are one chat (`--features redis`; `make demo-cluster`).
//!
//! Read from the top: `app` puts the parts together, each part stands below it. What travels
//! over the wire is in `wire.rs`, the rooms in `rooms.rs`, the page in `page/`. The page comes
//! back to where it was, by `clients/js`; nothing here knows of that but `come_in`.

mod rooms;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use nexios::{
    App, AppHandle, CloseCode, Error, Json, Message, Next, RateLimit, ReceiveError, RequestError, Route, Serve,
    StaticFiles, WebSocket, WebSocketException, WsRouter, presence::PresenceEvent,
};

use wire::{FromClient, Said, Say, Stored, ToClient};

const NAME_CHARS_MAX: usize = 24;
const TEXT_CHARS_MAX: usize = 2000;
const KEY_CHARS_MAX: usize = 30;
/// Found from wherever the demo is started.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/chat/page");

#[derive(Parser)]
#[command(about = "A chat in the browser")]
struct Args {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8000")]
    listen: String,
    /// The token that signs people in.
    #[arg(long, default_value = "letmein")]
    token: String,
    /// The directory of the page.
    #[arg(long, default_value = PAGE)]
    page: String,
    /// A page of another node that may connect, such as http://127.0.0.1:8001; may be repeated.
    #[arg(long)]
    origin: Vec<String>,
}

/// The token that signs people in.
struct Token(String);

/// Who a connection belongs to, and the room it is in.
struct Visitor {
    name: String,
    room: String,
}

fn app(token: &str, page: &str) -> App {
    let talking = RateLimit::messages(5).per(Duration::from_secs(1)).burst(20);
    let chat = WsRouter::with_prefix("/chat")
        .live(true)
        .middleware(sign_in)
        .on_connect(come_in)
        .on_message(log_message)
        .on_disconnect(log_end)
        .authorize_presence(async |_: WebSocket, room: Arc<str>| room.starts_with("news/"))
        .on_request("history", history)
        .on_request("say", say_once)
        .exception_handler::<WebSocketException, _>(tell_and_close)
        .route(Route::new("/{room}", chat).middleware(talking));
    // The client in JavaScript is a link to where it is kept.
    let page = StaticFiles::of(page).follow_links(true);
    let app = App::new().state(Token(token.to_owned())).mount(chat).health("/health").static_files("/", page);
    let (at_join, at_leave) = (app.handle(), app.handle());
    app.on_join(move |event| tell_news(at_join.clone(), event, |name| ToClient::Joined { name }))
        .on_leave(move |event| tell_news(at_leave.clone(), event, |name| ToClient::Left { name }))
}

/// A wrong token or name is refused before `accept()`: the browser sees 1008 and the reason.
async fn sign_in(ws: WebSocket, next: Next) -> nexios::Result {
    if ws.bearer_token().as_deref() != Some(&ws.app_state::<Token>()?.0) {
        ws.close(1008, "Invalid token").await?;
        return Ok(());
    }
    let name = ws.query("name").unwrap_or_default().trim().to_owned();
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        ws.close(1008, format!("A name has 1 to {NAME_CHARS_MAX} characters")).await?;
        return Ok(());
    }
    ws.set_client_id(&name);
    ws.state().insert(Visitor { name, room: ws.path_param("room")? });
    next.run(ws).await
}

/// Runs inside `accept()`. Who speaks `nexios.v1` comes to where they were, and asks for the rest;
/// who does not gets the picture, and what is said from there on.
async fn come_in(ws: WebSocket) -> nexios::Result {
    let visitor = visitor(&ws)?;
    let Visitor { name, room } = &*visitor;
    let (talk, news) = (rooms::talk(&ws.app(), room), rooms::news(&ws.app(), room));
    ws.join(news.name()).await;
    news.track(&ws, &()).await?;
    if ws.subprotocol().as_deref() == Some("nexios.v1") {
        ws.join(talk.name()).await;
    } else {
        let (people, past) = (rooms::people(&news).await, rooms::past(&talk).await?);
        let history = rooms::stored(&past);
        ws.send_json(&ToClient::Welcome { you: name, room, people, history }).await?;
        ws.join_from(talk.name(), Some(past.position)).await;
    }
    Ok(())
}

/// Told once, by the node that the person is on.
async fn tell_news(
    app: AppHandle,
    event: PresenceEvent,
    news: impl for<'a> Fn(&'a str) -> ToClient<'a>,
) -> nexios::Result {
    if event.here && rooms::is_news(&event.room) {
        app.room(&event.room).broadcast_json(&news(&event.user))?.exclude([&*event.user]).await;
    }
    Ok(())
}

/// The conversation: one message after the other, until the client is gone.
async fn chat(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    ws.enable_compression();
    let visitor = visitor(&ws)?;
    loop {
        match ws.receive_json().await? {
            FromClient::Say(what) => drop(say(&ws, &visitor, what).await?),
            FromClient::Direct { to, text } => direct(&ws, &visitor, &to, text.trim()).await?,
            FromClient::Typing => {
                let typing = ToClient::Typing { from: &visitor.name };
                rooms::news(&ws.app(), &visitor.room).broadcast_json(&typing)?.exclude([&ws]).await;
            }
        }
    }
}

/// Whether it is where it cannot get lost.
async fn say(ws: &WebSocket, Visitor { name, room }: &Visitor, Say { text, key }: Say) -> nexios::Result<bool> {
    let text = checked(text.trim())?;
    if text == "/ping" {
        let round_trip = ws.ping().await?;
        notice(ws, &format!("{:.1} ms there and back", round_trip.as_secs_f64() * 1000.0)).await?;
        return Ok(true);
    }
    if let Some(text) = text.strip_prefix("/all ") {
        let text = format!("{name} to everybody: {text}");
        ws.router().broadcast_json(&ToClient::Notice { text: &text })?.await;
        return Ok(true);
    }
    let said = Said { from: name.clone(), text: text.to_owned(), at: now() };
    let mut saying = rooms::talk(&ws.app(), room).broadcast_json(&ToClient::Said(&said))?;
    if let Some(key) = key.filter(|key| key.chars().count() <= KEY_CHARS_MAX) {
        saying = saying.idempotency_key(format!("{name}:{key}"));
    }
    Ok(saying.await.stored.is_some())
}

/// A page that gets no answer asks again, with the same key.
async fn say_once(ws: WebSocket, Json(what): Json<Say>) -> nexios::Result {
    match say(&ws, &*visitor(&ws)?, what).await? {
        true => Ok(()),
        false => Err(RequestError::new("unavailable", "It could not be stored").into()),
    }
}

async fn history(ws: WebSocket, (): ()) -> nexios::Result<Json<Vec<Stored>>> {
    let talk = rooms::talk(&ws.app(), &visitor(&ws)?.room);
    Ok(Json(rooms::stored(&rooms::past(&talk).await?)))
}

/// To every tab of the other, and to every tab of the sender.
async fn direct(ws: &WebSocket, Visitor { name, .. }: &Visitor, to: &str, text: &str) -> nexios::Result {
    let message = ToClient::Direct { from: name, to, text: checked(text)?, at: now() };
    let outcome = ws.app().broadcast_to([to, name.as_str()], serde_json::to_string(&message)?).await;
    if outcome.unknown.iter().any(|unknown| *unknown == *to) {
        notice(ws, &format!("{to} is not here any more")).await?;
    }
    Ok(())
}

async fn log_message(ws: WebSocket, message: Message) {
    tracing::debug!(client = ?ws.client(), bytes = message.len(), "message");
}

async fn log_end(ws: WebSocket) {
    tracing::debug!(client = ?ws.client(), code = ws.close_code(), "gone");
}

/// What is wrong with a client's message is told to that client.
async fn tell_and_close(ws: WebSocket, error: WebSocketException) -> nexios::Result {
    ws.close(error.code, &error.reason).await?;
    Ok(())
}

async fn notice(ws: &WebSocket, text: &str) -> nexios::Result {
    ws.send_json(&ToClient::Notice { text }).await?;
    Ok(())
}

fn visitor(ws: &WebSocket) -> Result<std::rc::Rc<Visitor>, Error> {
    ws.state()
        .get::<Visitor>()
        .ok_or_else(|| WebSocketException::new(CloseCode::POLICY_VIOLATION, "Sign in first").into())
}

fn checked(text: &str) -> Result<&str, ReceiveError> {
    match text.chars().count() {
        1..=TEXT_CHARS_MAX => Ok(text),
        _ => {
            let reason = format!("A message has 1 to {TEXT_CHARS_MAX} characters");
            Err(WebSocketException::new(CloseCode::POLICY_VIOLATION, reason).into())
        }
    }
}

/// Milliseconds since 1970, as the browser counts them.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn main() -> Result<(), nexios::StartError> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let args = Args::parse();
    let token = args.token.clone();
    let serve = Serve::tcp(&args.listen).on_listen(move |addresses| {
        for address in addresses {
            println!("The chat is at http://{address} (any name; the token is {token})");
        }
    });
    app(&args.token, &args.page).allowed_origins(args.origin).run(serve)
}
