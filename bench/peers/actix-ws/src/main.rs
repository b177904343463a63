//! actix-ws on actix-web with one worker, after the project's own examples.

mod chat;

use std::net::SocketAddr;

use actix_web::web::{self, Data, Payload};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, Closed, Session};
use clap::Parser;

use crate::chat::Chat;

/// Messages of 1 MiB, in frames of at most as much.
const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;

#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
}

/// Who hears what. There is one worker, and so one of each.
#[derive(Default)]
struct Chats {
    /// The clients of `/bcast`.
    everybody: Chat,
    /// The clients of `/sub`.
    subscribers: Chat,
}

#[actix_web::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let app = || {
        App::new()
            .app_data(Data::new(Chats::default()))
            .route("/echo", web::get().to(echo))
            .route("/bcast", web::get().to(broadcast))
            .route("/pub", web::get().to(publish))
            .route("/sub", web::get().to(subscribe))
    };
    HttpServer::new(app).workers(1).bind(options.listen)?.run().await?;
    Ok(())
}

async fn echo(request: HttpRequest, body: Payload) -> actix_web::Result<HttpResponse> {
    let (response, mut session, mut stream) = open(&request, body)?;
    actix_web::rt::spawn(async move {
        while let Some(Ok(message)) = stream.recv().await {
            if answer(&mut session, message).await.is_err() {
                return;
            }
        }
        let _ = session.close(None).await;
    });
    Ok(response)
}

async fn answer(session: &mut Session, message: AggregatedMessage) -> Result<(), Closed> {
    match message {
        AggregatedMessage::Text(text) => session.text(text).await,
        AggregatedMessage::Binary(bytes) => session.binary(bytes).await,
        AggregatedMessage::Ping(bytes) => session.pong(&bytes).await,
        AggregatedMessage::Pong(_) => Ok(()),
        AggregatedMessage::Close(_) => Err(Closed),
    }
}

async fn broadcast(request: HttpRequest, body: Payload, chats: Data<Chats>) -> actix_web::Result<HttpResponse> {
    let (response, mut session, mut stream) = open(&request, body)?;
    actix_web::rt::spawn(async move {
        let id = chats.everybody.join(session.clone());
        speak(&mut session, &mut stream, &chats.everybody).await;
        chats.everybody.leave(id);
    });
    Ok(response)
}

async fn publish(request: HttpRequest, body: Payload, chats: Data<Chats>) -> actix_web::Result<HttpResponse> {
    let (response, mut session, mut stream) = open(&request, body)?;
    actix_web::rt::spawn(async move { speak(&mut session, &mut stream, &chats.subscribers).await });
    Ok(response)
}

async fn subscribe(request: HttpRequest, body: Payload, chats: Data<Chats>) -> actix_web::Result<HttpResponse> {
    let (response, mut session, mut stream) = open(&request, body)?;
    actix_web::rt::spawn(async move {
        let id = chats.subscribers.join(session.clone());
        speak(&mut session, &mut stream, &Chat::default()).await;
        chats.subscribers.leave(id);
    });
    Ok(response)
}

/// Relays what a client says until it goes.
async fn speak(session: &mut Session, stream: &mut AggregatedMessageStream, audience: &Chat) {
    while let Some(Ok(message)) = stream.recv().await {
        match message {
            AggregatedMessage::Text(_) | AggregatedMessage::Binary(_) => audience.send(&message).await,
            control => {
                if answer(session, control).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn open(request: &HttpRequest, body: Payload) -> actix_web::Result<(HttpResponse, Session, AggregatedMessageStream)> {
    let (response, session, stream) = actix_ws::handle(request, body)?;
    let stream =
        stream.max_frame_size(PAYLOAD_BYTES_MAX).aggregate_continuations().max_continuation_size(PAYLOAD_BYTES_MAX);
    Ok((response, session, stream))
}
