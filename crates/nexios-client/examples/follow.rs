//! Follows a room, and publishes what is typed into it.
//!
//! `cargo run --example live`, then `cargo run -p nexios-client --example follow -- chat-1`. A second argument is the address.

use nexios_client::{Connector, Error, Event, FileStorage, RoomEvent};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

fn print(event: RoomEvent) {
    match event {
        RoomEvent::Joined { recovered: false, has_history: true, .. } => println!("* joined; there may be a hole"),
        RoomEvent::Message { message, .. } => println!("{}", message.as_text().unwrap_or("* bytes")),
        other => println!("* {other:?}"),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "chat-1".to_owned());
    let url = arguments.next().unwrap_or_else(|| "ws://127.0.0.1:8000/".to_owned());
    let positions = FileStorage::new(std::env::temp_dir().join("nexios-follow.json"));
    let client = Connector::new(url).storage(positions).start()?;
    client.on(|event: Event| async move {
        if let Event::Close(closed) = event {
            println!("* {closed}");
        }
    });
    let mut events = client.subscribe(name)?;
    let room = events.room().clone();
    let mut lines = BufReader::new(stdin()).lines();
    loop {
        tokio::select! {
            Some(event) = events.next() => print(event),
            line = lines.next_line() => match line? {
                Some(line) => publish(&room, line).await,
                None => break,
            },
        }
    }
    client.close().await;
    Ok(())
}

async fn publish(room: &nexios_client::Room, line: String) {
    let told = |error: Error| println!("* not published: {error}");
    room.publish(line).await.map_or_else(told, drop);
}
