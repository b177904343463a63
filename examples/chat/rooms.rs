//! Rooms: one with history, where people talk, and one for the present state.

use std::time::Duration;

use nexios::broker::{History, HistoryPage};
use nexios::{AppHandle, Room};

use crate::wire::Stored;

/// What was said remains for an hour, the last thousand messages.
const HISTORY: (usize, Duration) = (1000, Duration::from_secs(3600));
/// Messages that a newcomer sees.
const PAGE_MESSAGES: usize = 50;
const TALK: &str = "talk/";
const NEWS: &str = "news/";

/// What people say.
pub(crate) fn talk(app: &AppHandle, room: &str) -> Room {
    app.room(format!("{TALK}{room}")).with_history(History::new(HISTORY.0, HISTORY.1))
}

/// Who is here and who is typing; for those who do not ask for presence, who comes and goes.
pub(crate) fn news(app: &AppHandle, room: &str) -> Room {
    app.room(format!("{NEWS}{room}"))
}

/// Whether this is the name of a room's news.
pub(crate) fn is_news(name: &str) -> bool {
    name.starts_with(NEWS)
}

/// What was said last.
pub(crate) async fn past(talk: &Room) -> nexios::Result<HistoryPage> {
    Ok(talk.history().limit(PAGE_MESSAGES).await?)
}

/// The same as the page reads it.
pub(crate) fn stored(page: &HistoryPage) -> Vec<Stored> {
    let one = |stored: &nexios::broker::StoredMessage| {
        let said = serde_json::from_slice(stored.message.as_bytes()).ok()?;
        Some(Stored { offset: stored.position.offset, said })
    };
    page.messages.iter().filter_map(one).collect()
}

/// The names of those who are here.
pub(crate) async fn people(news: &Room) -> Vec<String> {
    news.presence().await.into_iter().map(|present| present.user.to_string()).collect()
}
