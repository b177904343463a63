//! Keyword arguments as settings.

use std::time::Duration;

use nexios::{Compression, ServerSettings, Settings, SlowClient};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict};

/// A change to the settings of the levels around.
pub(crate) type Change = Box<dyn Fn(&mut Settings) + Send + Sync>;

/// The settings of one level; the others are left to the level around it.
#[derive(Default)]
pub(crate) struct Level {
    pub(crate) changes: Vec<Change>,
    pub(crate) allowed_origins: Option<Vec<String>>,
    pub(crate) refuse_before_accept: Option<bool>,
    pub(crate) subprotocols: Option<Vec<String>>,
    pub(crate) cancel_on_disconnect: Option<bool>,
    pub(crate) retry: Option<(Duration, Duration)>,
    pub(crate) watched_rooms_max: Option<Option<usize>>,
    pub(crate) hold_timeout: Option<Duration>,
    pub(crate) leave_delay: Option<Duration>,
    pub(crate) live: Option<bool>,
}

/// Sets a field whenever the settings of a route are put together.
macro_rules! change {
    ($value:expr, $($field:ident).+) => {{
        let value = $value;
        Box::new(move |settings: &mut Settings| settings.$($field).+ = value)
    }};
}

impl Level {
    pub(crate) fn of(settings: &Bound<'_, PyDict>) -> PyResult<Self> {
        let mut level = Level::default();
        for (name, value) in settings {
            let name: String = name.extract()?;
            level.set(&name, &value).map_err(|error| named(settings.py(), &name, error))?;
        }
        Ok(level)
    }

    /// Raises where a router is given what only a route can have.
    pub(crate) fn require_no_route_settings(&self) -> PyResult<()> {
        let given = [
            ("subprotocols", self.subprotocols.is_some()),
            ("cancel_on_disconnect", self.cancel_on_disconnect.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((name, _)) => Err(PyTypeError::new_err(format!("{name} is a setting of routes: ws(path, {name}=…)"))),
        }
    }

    fn set(&mut self, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let change: Change = match name {
            "message_bytes_max" => change!(value.extract::<Option<usize>>()?, message_bytes_max),
            "fragments_max" => change!(value.extract::<Option<u32>>()?, fragments_max),
            "fragment_timeout" => change!(seconds(value)?, fragment_timeout),
            "message_timeout" => change!(optional(value)?, message_timeout),
            "accept_timeout" => change!(seconds(value)?, accept_timeout),
            "ping_interval" => change!(optional(value)?, ping_interval),
            "ping_timeout" => change!(seconds(value)?, ping_timeout),
            "close_timeout" => change!(seconds(value)?, close_timeout),
            "outbox_mark_bytes" => change!(value.extract::<usize>()?, outbox_mark_bytes),
            "outbox_bytes_max" => change!(value.extract::<usize>()?, outbox_bytes_max),
            "drain_timeout" => change!(seconds(value)?, drain_timeout),
            "inbox_messages_max" => change!(value.extract::<usize>()?, inbox_messages_max),
            "inbox_bytes_max" => change!(value.extract::<usize>()?, inbox_bytes_max),
            "control_frames_per_second_max" => change!(value.extract::<u32>()?, control_frames_per_second_max),
            "compression" => change!(compression(value)?, compression),
            "slow_client" => change!(slow_client(&value.extract::<String>()?)?, slow_client),
            "kernel_bytes_max" => change!(value.extract::<Option<usize>>()?, kernel_bytes_max),
            "keep_head" => change!(value.extract::<bool>()?, keep_head),
            "allowed_origins" => {
                let origins = texts(value)?;
                nexios::check_origins(&origins).map_err(|error| PyValueError::new_err(error.to_string()))?;
                self.allowed_origins = Some(origins);
                return Ok(());
            }
            "refuse_before_accept" => {
                self.refuse_before_accept = Some(value.extract()?);
                return Ok(());
            }
            "subprotocols" => {
                self.subprotocols = Some(texts(value)?);
                return Ok(());
            }
            "cancel_on_disconnect" => {
                self.cancel_on_disconnect = Some(value.extract()?);
                return Ok(());
            }
            "live" => {
                self.live = Some(value.extract()?);
                return Ok(());
            }
            "retry" => {
                let (min, max): (Bound<'_, PyAny>, Bound<'_, PyAny>) = value.extract()?;
                self.retry = Some((seconds(&min)?, seconds(&max)?));
                return Ok(());
            }
            "watched_rooms_max" => {
                self.watched_rooms_max = Some(value.extract()?);
                return Ok(());
            }
            "hold_timeout" => {
                self.hold_timeout = Some(seconds(value)?);
                return Ok(());
            }
            "leave_delay" => {
                self.leave_delay = Some(seconds(value)?);
                return Ok(());
            }
            _ => return Err(PyTypeError::new_err("there is no such setting")),
        };
        self.changes.push(change);
        Ok(())
    }
}

/// Changes what holds for the whole server.
pub(crate) fn server(settings: &Bound<'_, PyDict>, server: &mut ServerSettings) -> PyResult<()> {
    for (name, value) in settings {
        let name: String = name.extract()?;
        set_server(server, &name, &value).map_err(|error| named(settings.py(), &name, error))?;
    }
    Ok(())
}

fn set_server(server: &mut ServerSettings, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    match name {
        "head_timeout" => server.head_timeout = seconds(value)?,
        "head_bytes_max" => server.head_bytes_max = value.extract()?,
        "headers_max" => server.headers_max = value.extract()?,
        "http_stall_timeout" => server.http_stall_timeout = optional(value)?,
        "http_bytes_per_second_min" => server.http_bytes_per_second_min = value.extract()?,
        "connections_max" => server.connections_max = value.extract()?,
        "connections_per_host_max" => server.connections_per_host_max = value.extract()?,
        "accept_rate_max" => server.accept_rate_max = value.extract()?,
        "shutdown_grace" => server.shutdown_grace = seconds(value)?,
        "waiting_bytes_max" => server.waiting_bytes_max = value.extract()?,
        "read_buffer_bytes" => server.read_buffer_bytes = value.extract()?,
        _ => return Err(PyTypeError::new_err("there is no such setting")),
    }
    Ok(())
}

fn named(py: Python<'_>, name: &str, error: PyErr) -> PyErr {
    let text = format!("{name}: {}", error.value(py));
    match error.is_instance_of::<PyTypeError>(py) {
        true => PyTypeError::new_err(text),
        false => PyValueError::new_err(text),
    }
}

pub(crate) fn seconds(value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value.extract()?).map_err(|error| PyValueError::new_err(error.to_string()))
}

fn optional(value: &Bound<'_, PyAny>) -> PyResult<Option<Duration>> {
    if value.is_none() { Ok(None) } else { seconds(value).map(Some) }
}

/// A `str` is a sequence of texts, too, but nobody means that.
fn texts(value: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    if value.is_instance_of::<pyo3::types::PyString>() {
        return Err(PyTypeError::new_err("expected a list of texts, not one text"));
    }
    value.try_iter()?.map(|item| item?.extract()).collect()
}

fn slow_client(name: &str) -> PyResult<SlowClient> {
    match name {
        "close" => Ok(SlowClient::Close),
        "drop_newest" => Ok(SlowClient::DropNewest),
        "drop_oldest" => Ok(SlowClient::DropOldest),
        "conflate" => Ok(SlowClient::Conflate),
        _ => Err(PyValueError::new_err("expected \"close\", \"drop_newest\", \"drop_oldest\" or \"conflate\"")),
    }
}

/// `None` and `False` decline it, `True` is the default, a mapping changes the default.
pub(crate) fn compression(value: &Bound<'_, PyAny>) -> PyResult<Option<Compression>> {
    if value.is_none() {
        return Ok(None);
    }
    if let Ok(on) = value.cast::<PyBool>() {
        return Ok(on.is_true().then(Compression::default));
    }
    let mut compression = Compression::default();
    for (name, value) in value.cast::<PyDict>()? {
        match name.extract::<String>()?.as_str() {
            "context_takeover" => compression.context_takeover = value.extract()?,
            "window_bits" => compression.window_bits = within(&value, 9..=15)?,
            "level" => compression.level = within(&value, 1..=9)?,
            "message_bytes_min" => compression.message_bytes_min = value.extract()?,
            other => return Err(PyTypeError::new_err(format!("there is no setting {other:?} of compression"))),
        }
    }
    Ok(Some(compression))
}

fn within(value: &Bound<'_, PyAny>, range: std::ops::RangeInclusive<u8>) -> PyResult<u8> {
    let number = value.extract()?;
    match range.contains(&number) {
        true => Ok(number),
        false => Err(PyValueError::new_err(format!("{number} is not from {} to {}", range.start(), range.end()))),
    }
}
