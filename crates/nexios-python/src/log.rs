//! Records of the framework, handed to Python's `logging`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use nexios::ConnectionId;
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::host::Host;

/// Records kept between two turns; what is over is counted.
const RECORDS_MAX: usize = 1 << 16;
/// The events of the access log.
const ACCESS: &str = "nexios::access";

/// Collects on this thread as long as it lives; the hosts of a thread share one.
pub(crate) struct Log {
    records: Arc<Mutex<Records>>,
    _guard: DefaultGuard,
}

#[derive(Default)]
struct Records {
    list: Vec<Record>,
    lost: usize,
}

/// An event on its way to Python.
struct Record {
    level: u8,
    target: &'static str,
    message: String,
    fields: Vec<(&'static str, Value)>,
}

enum Value {
    Text(String),
    Integer(i64),
    Number(f64),
}

/// Contexts of connections whose tasks have ended, until their last lines are logged.
#[derive(Default)]
pub(crate) struct Departed(RefCell<HashMap<ConnectionId, Departure>>);

struct Departure {
    context: Py<PyAny>,
    /// The access log has yet to tell of the end.
    is_awaited: bool,
}

struct Collector(Arc<Mutex<Records>>);

thread_local! {
    static LOG: RefCell<Weak<Log>> = const { RefCell::new(Weak::new()) };
}

impl Log {
    /// Returns that of this thread.
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

    fn take(&self) -> Option<Records> {
        let mut records = self.records.lock();
        (!records.list.is_empty()).then(|| std::mem::take(&mut *records))
    }
}

impl Host {
    /// Hands the records of the engine to `logging`, each in a copy of the context of the connection that it names.
    pub(crate) fn write_log(&self, py: Python<'_>) {
        let Some(Records { list, lost }) = self.log.take() else { return };
        for record in list {
            let id = record.connection();
            let context = id.and_then(|id| self.context_of(py, &id));
            self.log_record(py, context.as_ref(), &record);
            if let Some(id) = id.filter(|_| record.is_last()) {
                self.departed.forget(&id);
            }
        }
        if lost > 0 {
            let message = format!("{lost} further messages in one turn were not logged");
            self.log_record(py, None, &Record { level: 30, target: "nexios", message, fields: Vec::new() });
            self.departed.clear();
        }
    }

    fn log_record(&self, py: Python<'_>, context: Option<&Py<PyAny>>, record: &Record) {
        let logged = record.fields(py).and_then(|fields| {
            let call = (self.log_function(), record.level, record.target, &record.message, fields);
            self.call_in_context(py, context, call.into_pyobject(py)?)
        });
        if let Err(error) = logged {
            error.write_unraisable(py, None);
        }
    }

    fn context_of(&self, py: Python<'_>, id: &ConnectionId) -> Option<Py<PyAny>> {
        let socket = self.sockets.borrow().get(id).map(|socket| socket.clone_ref(py));
        match socket {
            Some(socket) => socket.get().core().ok()?.context(py),
            None => self.departed.0.borrow().get(id).map(|departure| departure.context.clone_ref(py)),
        }
    }
}

impl Departed {
    /// Keeps the context of a connection until the end of the turn, or until its last line.
    pub(crate) fn insert(&self, id: ConnectionId, context: Py<PyAny>, is_awaited: bool) {
        let before = self.0.borrow_mut().insert(id, Departure { context, is_awaited });
        drop(before);
    }

    /// Forgets the connections that need no line of the access log, when all records are logged.
    pub(crate) fn end_turn(&self) {
        if self.0.borrow().is_empty() {
            return;
        }
        // What is dropped may run code of Python's: nothing is borrowed.
        let over: Vec<_> = self.0.borrow_mut().extract_if(|_, departure| !departure.is_awaited).collect();
        drop(over);
    }

    /// A line that has not come until the end of the turn does not come any more.
    pub(crate) fn release(&self, id: &ConnectionId) {
        if let Some(departure) = self.0.borrow_mut().get_mut(id) {
            departure.is_awaited = false;
        }
    }

    fn forget(&self, id: &ConnectionId) {
        let over = self.0.borrow_mut().remove(id);
        drop(over);
    }

    pub(crate) fn clear(&self) {
        let over = self.0.take();
        drop(over);
    }
}

impl Record {
    /// The connection that it is about.
    fn connection(&self) -> Option<ConnectionId> {
        self.fields.iter().find_map(|(name, value)| match value {
            Value::Text(text) if *name == "connection" => text.parse().ok(),
            _ => None,
        })
    }

    /// Returns true if nothing is logged behind it: the end of a connection, or the answer to a request.
    fn is_last(&self) -> bool {
        self.target == ACCESS && matches!(&*self.message, "closed" | "refused" | "answered")
    }

    fn fields<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let fields = PyDict::new(py);
        for (name, value) in &self.fields {
            match value {
                Value::Text(text) => fields.set_item(name, text)?,
                Value::Integer(integer) => fields.set_item(name, integer)?,
                Value::Number(number) => fields.set_item(name, number)?,
            }
        }
        Ok(fields)
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::INFO && metadata.target().starts_with("nexios")
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = match *event.metadata().level() {
            Level::ERROR => 40,
            Level::WARN => 30,
            _ => 20,
        };
        let Fields { message, list } = fields;
        let mut records = self.0.lock();
        match records.list.len() < RECORDS_MAX {
            true => records.list.push(Record { level, target: event.metadata().target(), message, fields: list }),
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
struct Fields {
    message: String,
    list: Vec<(&'static str, Value)>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => self.list.push((name, Value::Text(value.to_owned()))),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.list.push((field.name(), Value::Integer(value)));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record_i64(field, i64::try_from(value).unwrap_or(i64::MAX));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.list.push((field.name(), Value::Number(value)));
    }
}
