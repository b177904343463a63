//! Calls of the application, as futures.

use nexios_client::{Client, Error, InvalidPosition, Message, Since};
use serde_json::{Value, json};

use crate::pattern::{Special, has_special, plain, raw};
use crate::player::{Outcome, Step, millis};
use crate::reports::{Reports, user};

pub(crate) type Call = std::pin::Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// The message of a call: a text as it is, anything else as JSON.
fn message(client: &Client, step: &Step, is_json: bool) -> Result<Result<Message, Error>, String> {
    let data = step.get("data").unwrap_or(&Value::Null);
    if has_special(data)? {
        return Ok(client.message(&Special(data)));
    }
    let data = plain(data)?;
    Ok(match data {
        Value::Null if !step.contains_key("data") => Ok(Message::Text(String::new())),
        Value::String(text) if !is_json => Ok(Message::Text(text)),
        data if data.get("$bytes").is_some() => Ok(raw(&data)?),
        data => client.message(&data),
    })
}

pub(crate) fn of(client: Client, step: Step, reports: Reports, is_json: bool) -> Result<Call, String> {
    let since = match step.get("since").and_then(Value::as_str) {
        None => None,
        Some("start") => Some(Ok(Since::Start)),
        Some(position) => Some(position.parse().map(Since::Position)),
    };
    let message = message(&client, &step, is_json)?;
    let timeout = step.get("timeout_ms").map(millis).transpose()?;
    let key = step.get("key").map(|key| key.as_str().map(str::to_owned).ok_or("a key is a text in Rust"));
    let key = key.transpose()?;
    Ok(Box::pin(async move {
        let room = || client.room(step["room"].as_str().unwrap_or_default());
        match step["call"].as_str().unwrap_or_default() {
            "room" => drop(room()?),
            "join" => {
                let (room, since) = (room()?, since.transpose().map_err(|error| invalid(&error))?);
                let joining =
                    async { if let Some(since) = since { room.join_since(since).await } else { room.join().await } };
                match timeout {
                    Some(time) => tokio::time::timeout(time, joining).await.map_err(|_| late())??,
                    None => joining.await?,
                }
            }
            "leave" => room()?.leave().await?,
            "publish" => {
                let published = match key {
                    Some(key) => room()?.publish_as(key, message?).await?,
                    None => room()?.publish(message?).await?,
                };
                let mut value = json!({"key": published.key, "duplicate": published.duplicate});
                if let Some(position) = published.position {
                    value["position"] = json!(position.to_string());
                }
                return Ok(value);
            }
            "presence" => {
                let members = match timeout {
                    Some(timeout) => room()?.presence_within(timeout).await?,
                    None => room()?.presence().await?,
                };
                return Ok(members.iter().map(user).collect());
            }
            "request" => {
                let method = step["method"].as_str().unwrap_or_default();
                let answer = match timeout {
                    Some(timeout) => client.request_within(method, message?, timeout).await?,
                    None => client.request(method, message?).await?,
                };
                return reports.decoded(&answer).map_err(|error| Error::new("invalid_answer", error));
            }
            "send" => return Ok(json!(client.send(message?).await?)),
            "drop" => client.drop(step.get("away").is_some_and(|away| away == &json!(true))),
            "reconnect" => client.reconnect(),
            _ => client.close().await,
        }
        Ok(Value::Null)
    }))
}

fn invalid(error: &InvalidPosition) -> Error {
    Error::new("argument", error.to_string())
}

/// A call that the application gave up in time.
fn late() -> Error {
    Error::new("timeout", "it took too long")
}
