//! What the framework says, handed on to Python's `logging`.

use std::cell::RefCell;
use std::fmt::{self, Write};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::prelude::*;
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber};

/// Records kept between two turns; what is over is counted.
const RECORDS_MAX: usize = 1000;

/// Collects on this thread as long as it lives; the hosts of a thread share one.
pub(crate) struct Log {
    records: Arc<Mutex<Records>>,
    _guard: DefaultGuard,
}

#[derive(Default)]
struct Records {
    list: Vec<(u8, String)>,
    lost: usize,
}

struct Collector(Arc<Mutex<Records>>);

thread_local! {
    static LOG: RefCell<Weak<Log>> = const { RefCell::new(Weak::new()) };
}

impl Log {
    /// That of this thread.
    pub(crate) fn here() -> Rc<Self> {
        LOG.with_borrow_mut(|log| {
            if let Some(log) = log.upgrade() {
                return log;
            }
            let records = Arc::<Mutex<Records>>::default();
            let guard = tracing::subscriber::set_default(Collector(records.clone()));
            let made = Rc::new(Log { records, _guard: guard });
            *log = Rc::downgrade(&made);
            made
        })
    }

    /// Hands on what has been collected.
    pub(crate) fn tell(&self, tell: impl Fn(u8, String) -> PyResult<()>) -> PyResult<()> {
        if self.records.lock().list.is_empty() {
            return Ok(());
        }
        let Records { list, lost } = std::mem::take(&mut *self.records.lock());
        for (level, text) in list {
            tell(level, text)?;
        }
        if lost > 0 {
            tell(30, format!("{lost} further messages in one turn were not logged"))?;
        }
        Ok(())
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::INFO && metadata.target().starts_with("nexios")
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let Text { mut message, fields } = text;
        if !fields.is_empty() {
            let _ = write!(message, " ({fields})");
        }
        let level = match *event.metadata().level() {
            Level::ERROR => 40,
            Level::WARN => 30,
            _ => 20,
        };
        let mut records = self.0.lock();
        match records.list.len() < RECORDS_MAX {
            true => records.list.push((level, message)),
            false => records.lost += 1,
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name if self.fields.is_empty() => write!(self.fields, "{name}={value:?}"),
            name => write!(self.fields, ", {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}
