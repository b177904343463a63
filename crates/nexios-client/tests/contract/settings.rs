//! Options of a scenario that are more than a number.

use std::collections::VecDeque;

use nexios_client::{Connector, Position};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

pub(crate) fn with_urls(urls: Option<&Value>) -> Result<Connector, String> {
    let default = json!(["ws://a.test/live"]);
    let urls = urls.unwrap_or(&default);
    let single = std::slice::from_ref(urls);
    let mut connector: Option<Connector> = None;
    for url in urls.as_array().map_or(single, |urls| urls) {
        connector = Some(match (url, connector) {
            (Value::String(url), None) => Connector::new(url),
            (Value::String(url), Some(connector)) => connector.or(url),
            (sequence, connector) => {
                let next = sequence_of(sequence)?;
                let make = move || std::future::ready(next());
                match connector {
                    None => Connector::from_fn(make),
                    Some(connector) => connector.or_from_fn(make),
                }
            }
        });
    }
    connector.ok_or_else(|| "there is no address".to_owned())
}

/// The token and the further subprotocols.
pub(crate) fn with_offers(mut connector: Connector, options: &Map<String, Value>) -> Result<Connector, String> {
    connector = match options.get("token") {
        None => connector,
        Some(Value::String(token)) => connector.token(token),
        Some(sequence) => {
            let next = sequence_of(sequence)?;
            connector.token_from(move || std::future::ready(next()))
        }
    };
    match options.get("protocols") {
        None => Ok(connector),
        Some(Value::Array(names)) => {
            Ok(names.iter().filter_map(Value::as_str).fold(connector, |connector, name| connector.protocol(name)))
        }
        Some(sequence) => {
            let next = values_of(sequence)?;
            Ok(connector.protocols_from(move || std::future::ready(next().map(texts))))
        }
    }
}

fn texts(values: Value) -> Vec<String> {
    values.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A function that gives one text after another; the last one again and again.
fn sequence_of(value: &Value) -> Result<impl Fn() -> Result<String, String> + Send + Sync + 'static, String> {
    let next = values_of(value)?;
    Ok(move || next().map(|value| value.as_str().unwrap_or_default().to_owned()))
}

/// A function that gives one value after another, or fails with its error; the last one again and again.
fn values_of(value: &Value) -> Result<impl Fn() -> Result<Value, String> + Send + Sync + 'static, String> {
    let values = value["sequence"].as_array().ok_or_else(|| format!("{value} is not a sequence"))?;
    let values = Mutex::new(values.iter().cloned().collect::<VecDeque<_>>());
    Ok(move || {
        let mut values = values.lock();
        let value = if values.len() > 1 { values.pop_front() } else { values.front().cloned() };
        let value = value.unwrap_or_default();
        match value["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(value),
        }
    })
}

type Changes = Vec<(String, Option<Position>)>;

pub(crate) fn pairs(stored: &Value) -> Result<Changes, String> {
    let pair = |pair: &Value| {
        let (room, position) = (pair[0].as_str()?, pair[1].as_str()?);
        // Invalid positions count as missing.
        Some((room.to_owned(), position.parse().ok()))
    };
    stored.as_array().map(|pairs| pairs.iter().filter_map(pair).collect()).ok_or_else(|| "not an array".to_owned())
}
