//! Scenarios as they are written.

use std::collections::HashSet;
use std::path::PathBuf;

use serde_json::{Map, Value};

pub(crate) const NONCE: &str = "0123456789abcdef0123456789abcdef";

pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) options: Map<String, Value>,
    pub(crate) is_for_rust: bool,
    pub(crate) steps: Vec<Map<String, Value>>,
}

fn directory() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "..", "clients", "contract"].iter().collect()
}

fn read(path: PathBuf) -> Value {
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All scenarios of all files.
pub(crate) fn scenarios() -> Vec<Scenario> {
    let entries = std::fs::read_dir(directory().join("scenarios")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|ending| ending == "json")).collect();
    paths.sort();
    paths.into_iter().flat_map(of_file).collect()
}

fn of_file(path: PathBuf) -> Vec<Scenario> {
    let file = path.file_name().unwrap().to_string_lossy().into_owned();
    let Value::Array(all) = with_positions(read(path)) else { panic!("{file}: must be an array") };
    all.into_iter().map(|value| Scenario::of(value, &file)).collect()
}

/// The names of scenarios that the client does not pass yet.
pub(crate) fn pending() -> HashSet<String> {
    let all = read(directory().join("pending.json"));
    all["rust"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// Puts positions in place of `$pos:5`, in names too.
fn with_positions(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(position(&text)),
        Value::Array(values) => Value::Array(values.into_iter().map(with_positions).collect()),
        Value::Object(members) => {
            Value::Object(members.into_iter().map(|(name, value)| (position(&name), with_positions(value))).collect())
        }
        other => other,
    }
}

fn position(text: &str) -> String {
    let mut parts = text.split("$pos:");
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(part.len());
        whole += &format!("a1-{}-{NONCE}{}", &part[..end], &part[end..]);
    }
    whole
}

impl Scenario {
    fn of(value: Value, file: &str) -> Scenario {
        let Value::Object(mut members) = value else { panic!("{file}: a scenario is an object") };
        let Some(Value::String(name)) = members.remove("name") else { panic!("{file}: a scenario has a name") };
        let object = |value: Value| match value {
            Value::Object(members) => members,
            other => panic!("{name:?}: {other} is not an object"),
        };
        let options = members.remove("options").map_or_else(Map::new, object);
        let is_for_rust = match members.remove("only") {
            Some(only) => only.as_array().unwrap().iter().any(|client| client == "rust"),
            None => true,
        };
        let Some(Value::Array(steps)) = members.remove("steps") else { panic!("{name:?}: has no steps") };
        let steps = steps.into_iter().map(object).collect();
        members.retain(|member, _| !["spec", "because"].contains(&&**member));
        assert!(members.is_empty(), "{name:?}: unknown members {:?}", members.keys());
        Scenario { file: file.to_owned(), options, is_for_rust, steps, name }
    }
}
