//! Rooms: where people talk, which remembers, and beside it what is over as soon as it is said.

use std::time::Duration;

use nexios::broker::{History, HistoryPage};
use nexios::{AppHandle, Room};

use crate::wire::Remembered;

/// What was said remains for an hour, the last thousand messages.
const HISTORY: (usize, Duration) = (1000, Duration::from_secs(3600));
/// Messages that a newcomer sees.
const PAGE_MESSAGES: usize = 50;
const TALK: &str = "talk/";
const NEWS: &str = "news/";

/// What people say; who is tracked here is in the room.
pub(crate) fn talk(app: &AppHandle, room: &str) -> Room {
    app.room(format!("{TALK}{room}")).remembering(History::new(HISTORY.0, HISTORY.1))
}

/// Who is typing, and, for those who do not ask for presence, who comes and goes.
pub(crate) fn news(app: &AppHandle, room: &str) -> Room {
    app.room(format!("{NEWS}{room}"))
}

/// The room that people talk in there.
pub(crate) fn room_of(talk: &str) -> Option<&str> {
    talk.strip_prefix(TALK)
}

/// What was said last.
pub(crate) async fn past(talk: &Room) -> nexios::Result<HistoryPage> {
    Ok(talk.history().limit(PAGE_MESSAGES).await?)
}

/// The same as the page reads it.
pub(crate) fn remembered(page: &HistoryPage) -> Vec<Remembered> {
    let one = |stored: &nexios::broker::StoredMessage| {
        let said = serde_json::from_slice(stored.message.as_bytes()).ok()?;
        Some(Remembered { offset: stored.position.offset, said })
    };
    page.messages.iter().filter_map(one).collect()
}

/// The names of those who are here.
pub(crate) async fn people(talk: &Room) -> Vec<String> {
    talk.presence().await.into_iter().map(|present| present.user.to_string()).collect()
}
