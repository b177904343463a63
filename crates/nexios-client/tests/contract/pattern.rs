//! Patterns, and values that JSON cannot say.

use nexios_client::Message;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

/// Returns true if a value is as the pattern wants it; `None` for a member that is missing.
pub(crate) fn matches(pattern: &Value, value: Option<&Value>) -> bool {
    if let Value::Object(members) = pattern {
        if members.contains_key("$any") {
            return true;
        }
        if members.contains_key("$absent") {
            return value.is_none();
        }
        if let Some(Value::String(pattern)) = members.get("$matches") {
            let pattern = regex::Regex::new(pattern).unwrap();
            return value.and_then(Value::as_str).is_some_and(|text| pattern.is_match(text));
        }
        if let Some(literal) = literal(members) {
            return value == Some(&literal);
        }
        let Some(Value::Object(other)) = value else { return false };
        return members.iter().all(|(name, pattern)| matches(pattern, other.get(name)));
    }
    match (pattern, value) {
        (Value::Array(patterns), Some(Value::Array(values))) => {
            patterns.len() == values.len()
                && patterns.iter().zip(values).all(|(pattern, value)| matches(pattern, Some(value)))
        }
        (Value::Number(one), Some(Value::Number(other))) => one.as_f64() == other.as_f64(),
        (pattern, value) => value == Some(pattern),
    }
}

/// A long text, or bytes, in the one form in which they are compared.
fn literal(members: &Map<String, Value>) -> Option<Value> {
    if let Some(Value::String(text)) = members.get("$text") {
        let repeat = members.get("repeat").and_then(Value::as_u64).unwrap_or(1);
        return Some(Value::String(text.repeat(repeat as usize)));
    }
    members.get("$bytes").map(|bytes| json!({"$bytes": bytes}))
}

/// A value in which some are those that JSON cannot say.
pub(crate) struct Special<'a>(pub(crate) &'a Value);

impl Serialize for Special<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(members) => match members.get("$value").and_then(Value::as_str) {
                Some("nan") => serializer.serialize_f64(f64::NAN),
                Some("infinity") => serializer.serialize_f64(f64::INFINITY),
                Some(_) => serializer.serialize_u64((1 << 53) + 1),
                None => serializer.collect_map(members.iter().map(|(name, value)| (name, Special(value)))),
            },
            Value::Array(values) => serializer.collect_seq(values.iter().map(Special)),
            other => other.serialize(serializer),
        }
    }
}

/// Returns true if JSON cannot say it, and Rust can.
pub(crate) fn has_special(value: &Value) -> Result<bool, String> {
    let values: Vec<_> = match value {
        Value::Object(members) => match members.get("$value").and_then(Value::as_str) {
            Some("nan" | "infinity" | "bigint") => return Ok(true),
            Some(name) => return Err(format!("Rust has no value {name:?}")),
            None => members.values().collect(),
        },
        Value::Array(values) => values.iter().collect(),
        _ => Vec::new(),
    };
    values.into_iter().try_fold(false, |has, value| Ok(has_special(value)? || has))
}

/// The value that a scenario writes as `{"$text": …}`, or the value itself.
pub(crate) fn plain(value: &Value) -> Result<Value, String> {
    match value {
        Value::Object(members) if members.contains_key("$value") => Err(format!("{value} cannot be said in Rust")),
        Value::Object(members) => match literal(members) {
            Some(literal) => Ok(literal),
            None => members.iter().map(|(name, value)| Ok((name.clone(), plain(value)?))).collect(),
        },
        Value::Array(values) => values.iter().map(plain).collect(),
        other => Ok(other.clone()),
    }
}

/// A message that is not JSON in disguise: a text, or bytes.
pub(crate) fn raw(value: &Value) -> Result<Message, String> {
    match plain(value)? {
        Value::String(text) => Ok(Message::Text(text)),
        value if value.get("$bytes").is_some() => Ok(Message::Binary(bytes(&value["$bytes"])?)),
        other => Err(format!("{other} is neither a text nor bytes")),
    }
}

fn bytes(hex: &Value) -> Result<Vec<u8>, String> {
    let hex = hex.as_str().ok_or("bytes are written in hexadecimal")?;
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).map_err(|error| error.to_string());
    (0..hex.len()).step_by(2).map(digits).collect()
}

/// A message as scenarios write it.
pub(crate) fn shown(message: &Message) -> Value {
    match message {
        Message::Text(text) => json!(text),
        Message::Binary(bytes) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({"$bytes": hex})
        }
    }
}
