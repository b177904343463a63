//! Reports of the client, in the form of scenarios.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use nexios_client::{Client, Error, Event, Member, Message, PresenceChange, RoomEvent};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::pattern::shown;

/// The conduct of message handlers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Conduct {
    Go,
    Hold,
    Fail,
}

/// The one who reports.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Source {
    Client,
    Room(String),
    Subscription(String),
}

/// Events by their source.
#[derive(Clone)]
pub(crate) struct Reports {
    events: Arc<Mutex<HashMap<Source, VecDeque<Value>>>>,
    conduct: watch::Sender<Conduct>,
    is_json: bool,
}

impl Reports {
    pub(crate) fn new(is_json: bool) -> Self {
        Reports { events: Arc::default(), conduct: watch::Sender::new(Conduct::Go), is_json }
    }

    pub(crate) fn set_conduct(&self, conduct: Conduct) {
        self.conduct.send_replace(conduct);
    }

    pub(crate) fn take(&self, source: &Source) -> Option<Value> {
        self.events.lock().get_mut(source)?.pop_front()
    }

    /// All events that nobody has expected.
    pub(crate) fn left(&self) -> Vec<String> {
        let events = self.events.lock();
        let left = events.iter().flat_map(|(source, events)| events.iter().map(move |event| (source, event)));
        left.map(|(source, event)| format!("{source:?} {event}")).collect()
    }

    fn report(&self, source: Source, name: &str, mut members: Value) {
        if let Value::Object(members) = &mut members {
            members.retain(|member, value| !value.is_null() || member == "data");
        }
        members["event"] = json!(name);
        let mut events = self.events.lock();
        match (&source, events.get_mut(&source)) {
            (_, Some(reports)) => reports.push_back(members),
            // Nobody looks at it.
            (Source::Subscription(_), None) => {}
            (_, None) => _ = events.insert(source, VecDeque::from([members])),
        }
    }

    /// Reports the events of a client, and of each room that it is let into.
    pub(crate) fn follow(&self, client: &Client) {
        let (reports, held) = (self.clone(), client.clone());
        client.on(move |event| {
            let (reports, client) = (reports.clone(), held.clone());
            async move { reports.client_event(&client, event) }
        });
    }

    fn client_event(&self, client: &Client, event: Event) {
        let (name, members) = match event {
            Event::Open { id } => ("open", json!({"id": id})),
            Event::Close(closed) => {
                let (kind, retry) = (closed.kind.as_str(), closed.retry);
                ("close", json!({"code": closed.code, "reason": closed.reason, "kind": kind, "retry": retry}))
            }
            Event::Reconnecting { attempt, delay } => {
                ("reconnecting", json!({"attempt": attempt, "delay_ms": delay.as_millis() as u64}))
            }
            Event::Parked { code, reason, kind } => {
                ("parked", json!({"code": code, "reason": reason, "kind": kind.as_str()}))
            }
            Event::Unauthorized { code, reason } => ("unauthorized", json!({"code": code, "reason": reason})),
            Event::Message(message) => match self.decoded(&message) {
                Ok(data) => ("message", json!({"data": data})),
                Err(error) => ("error", json!({"message": error})),
            },
            Event::Joined { room } => {
                self.follow_room(client, &room);
                ("joined", json!({"name": room}))
            }
            Event::Gap { missed } => ("gap", json!({"missed": missed})),
            Event::Error(error) => ("error", json!({"code": error.code(), "message": error.message()})),
            other => panic!("{other:?}"),
        };
        self.report(Source::Client, name, members);
    }

    /// Reports the events of a room from now on.
    pub(crate) fn follow_room(&self, client: &Client, name: &str) {
        let source = Source::Room(name.to_owned());
        if self.events.lock().contains_key(&source) {
            return;
        }
        let Ok(room) = client.room(name) else { return };
        self.events.lock().insert(source.clone(), VecDeque::new());
        let reports = self.clone();
        room.on(move |event| {
            let (reports, source) = (reports.clone(), source.clone());
            async move { reports.room_event(source, event).await }
        });
    }

    /// The events of these subscriptions are looked at.
    pub(crate) fn listen_to<'a>(&self, labels: impl Iterator<Item = &'a str>) {
        let mut events = self.events.lock();
        labels.for_each(|label| _ = events.insert(Source::Subscription(label.to_owned()), VecDeque::new()));
    }

    /// Reads a room's events in a task that holds the subscription; `is_in` if it keeps the client in the room.
    pub(crate) fn subscribe(
        &self,
        client: &Client,
        room: &str,
        is_in: bool,
        label: &str,
    ) -> Result<JoinHandle<()>, Error> {
        let (reports, source) = (self.clone(), Source::Subscription(label.to_owned()));
        if is_in {
            let mut subscription = client.subscribe(room)?;
            return Ok(tokio::spawn(async move {
                while let Some(event) = subscription.next().await {
                    let _ = reports.room_event(source.clone(), event).await;
                }
            }));
        }
        let mut room = client.room(room)?;
        Ok(tokio::spawn(async move {
            while let Some(event) = room.next().await {
                let _ = reports.room_event(source.clone(), event).await;
            }
        }))
    }

    async fn room_event(&self, source: Source, event: RoomEvent) -> Result<(), String> {
        let (name, members) = match event {
            RoomEvent::Joined { recovered, has_history, .. } => {
                ("joined", json!({"recovered": recovered, "has_history": has_history}))
            }
            RoomEvent::Message { message, offset } => {
                ("message", json!({"data": self.decoded(&message)?, "offset": offset}))
            }
            RoomEvent::Reset { .. } => ("reset", json!({})),
            RoomEvent::Gap { missed } => ("gap", json!({"missed": missed})),
            RoomEvent::Left { code, message } => ("left", json!({"code": code, "message": message})),
            RoomEvent::Presence(change) => ("presence", presence(change)),
            other => panic!("{other:?}"),
        };
        self.report(source, name, members);
        if name != "message" {
            return Ok(());
        }
        let mut conduct = self.conduct.subscribe();
        // The sender is here.
        let conduct = *conduct.wait_for(|conduct| *conduct != Conduct::Hold).await.unwrap();
        if conduct == Conduct::Fail { Err("so it is".to_owned()) } else { Ok(()) }
    }

    /// A message as the application sees it.
    pub(crate) fn decoded(&self, message: &Message) -> Result<Value, String> {
        match message.as_text() {
            Some(text) if self.is_json && !text.is_empty() => {
                serde_json::from_str(text).map_err(|error| error.to_string())
            }
            _ => Ok(shown(message)),
        }
    }
}

fn presence(change: PresenceChange) -> Value {
    match change {
        PresenceChange::Join(member) => with(json!({"change": "join"}), member),
        PresenceChange::Leave(member) => with(json!({"change": "leave"}), member),
        PresenceChange::State(members) => {
            json!({"change": "state", "users": members.iter().map(user).collect::<Vec<_>>()})
        }
        other => panic!("{other:?}"),
    }
}

fn with(mut event: Value, member: Member) -> Value {
    event["user"] = json!(member.user);
    event["data"] = member.data;
    event
}

pub(crate) fn user(member: &Member) -> Value {
    Value::Object(Map::from_iter([("user".to_owned(), json!(member.user)), ("data".to_owned(), member.data.clone())]))
}
