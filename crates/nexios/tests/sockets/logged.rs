//! What is logged in this process, for tests.

use std::fmt::{self, Write};
use std::sync::{Mutex, OnceLock};

use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

use crate::wire::eventually;

/// Takes every event of the process, with the raw text of each field: what subscribers make of them is their own.
struct Log;

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("nexios")
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        LINES.lock().unwrap().push(text.0);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// Shards and brokers run on threads of their own: the log of all of them, from now on.
pub(crate) fn listen() {
    static LISTENING: OnceLock<()> = OnceLock::new();
    LISTENING.get_or_init(|| tracing::subscriber::set_global_default(Log).unwrap());
}

/// Waits for a line that has this text.
pub(crate) fn line_with(text: &str) -> String {
    let find = || LINES.lock().unwrap().iter().find(|line| line.contains(text)).cloned();
    eventually(text, || find().is_some());
    find().unwrap()
}

/// How many lines have this text.
pub(crate) fn count_of(text: &str) -> usize {
    LINES.lock().unwrap().iter().filter(|line| line.contains(text)).count()
}
