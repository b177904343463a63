//! The client's end of a connection, as Python sees it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use nexios_engine::protocol::{ClientHandshake, Connection, ControlTooLong, DeflateConfig, OpCode};
use nexios_engine::{ConnectionId, Shard, Sleep};
use pyo3::exceptions::{PyRuntimeError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::client::{Client, Message, Reader};
use crate::convert::{CloseCodeArgument, with_bytes, with_text};
use crate::engine::Engine;
use crate::host::Host;
use crate::local::Local;
use crate::settings;
use crate::waiting::Waiting;

/// A wait that ends later than this was held up: by a breakpoint, or whatever blocks the thread.
const HELD_UP: Duration = Duration::from_millis(100);

/// A client of an engine in the same thread, without sockets; dropping it hangs up.
#[pyclass(frozen, module = "nexios._nexios")]
pub(crate) struct TestConnection(Local<End>);

/// The client's end of a memory pipe.
struct End {
    host: Rc<Host>,
    shard: Shard,
    id: Option<ConnectionId>,
    client: Rc<RefCell<Client>>,
}

/// Events that a test can wait for.
#[derive(Clone, Copy)]
enum Awaited {
    Answer,
    Bytes,
    Message,
    Ping,
    Pong,
    End,
}

#[pymethods]
impl TestConnection {
    /// `address` is where the client says it is; `receive_buffer` is in bytes.
    #[new]
    fn new(engine: &Engine, address: Option<(IpAddr, u16)>, receive_buffer: usize) -> PyResult<Self> {
        if receive_buffer == 0 {
            return Err(PyValueError::new_err("receive_buffer: at least one byte"));
        }
        let shard = engine.shard()?;
        let pipe = shard.connect_memory_from(address.map(SocketAddr::from), receive_buffer);
        let id = pipe.id();
        let client = Rc::new(RefCell::new(Client::new(pipe, receive_buffer)));
        shard.spawn(Reader(client.clone()));
        let host = engine.host()?.clone();
        let end = End { host: host.clone(), shard, id, client };
        Ok(TestConnection(Local::new(end, &host)))
    }

    /// Sends a handshake.
    fn open(
        &self,
        py: Python<'_>,
        host: &str,
        target: &str,
        headers: Vec<(String, String)>,
        subprotocols: Vec<String>,
        compression: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let end = self.end()?;
        let mut handshake = ClientHandshake::new(host, target);
        for (name, value) in headers {
            handshake = handshake.header(name, value);
        }
        for name in subprotocols {
            handshake = handshake.subprotocol(name);
        }
        if let Some(own) = settings::compression(compression)? {
            let (takeover, window_bits, level) = (own.context_takeover, own.window_bits, own.level);
            handshake = handshake.deflate(DeflateConfig { takeover, window_bits, level, ..DeflateConfig::default() });
        }
        let opened = end.client.borrow_mut().open(handshake);
        end.host.settle(py);
        opened.map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// Sends bytes as they are, whatever they mean.
    fn write(&self, bytes: &Bound<'_, PyAny>) -> PyResult<()> {
        let end = self.end()?;
        with_bytes(bytes, |bytes| end.client.borrow().pipe.write(bytes))?;
        end.host.settle(bytes.py());
        Ok(())
    }

    fn send_text(&self, text: &Bound<'_, PyAny>) -> PyResult<()> {
        let end = self.end()?;
        with_text(text, |text| self.send_message(OpCode::Text, text.as_bytes()))??;
        end.host.settle(text.py());
        Ok(())
    }

    fn send_bytes(&self, bytes: &Bound<'_, PyAny>) -> PyResult<()> {
        let end = self.end()?;
        with_bytes(bytes, |bytes| self.send_message(OpCode::Binary, bytes))??;
        end.host.settle(bytes.py());
        Ok(())
    }

    /// Sends a text message in fragments.
    fn send_fragments(&self, py: Python<'_>, parts: Vec<String>) -> PyResult<()> {
        let end = self.end()?;
        for (index, part) in parts.iter().enumerate() {
            let opcode = if index == 0 { OpCode::Text } else { OpCode::Continuation };
            let fin = index + 1 == parts.len();
            end.client.borrow_mut().send(|protocol, out| protocol.send_fragment(out, opcode, fin, part.as_bytes()));
        }
        end.host.settle(py);
        Ok(())
    }

    fn send_ping(&self, payload: &Bound<'_, PyAny>) -> PyResult<()> {
        self.send_control(payload, Connection::send_ping)
    }

    fn send_pong(&self, payload: &Bound<'_, PyAny>) -> PyResult<()> {
        self.send_control(payload, Connection::send_pong)
    }

    /// Sends a Close frame; `None` is one without a code.
    fn close(&self, py: Python<'_>, code: Option<CloseCodeArgument>, reason: &str) -> PyResult<()> {
        let end = self.end()?;
        end.client.borrow_mut().send_close(code.map(|CloseCodeArgument(code)| (code, reason)));
        end.host.settle(py);
        Ok(())
    }

    /// Hangs up without a Close frame (FIN).
    fn hang_up(&self, py: Python<'_>) -> PyResult<()> {
        let end = self.end()?;
        end.client.borrow().pipe.shutdown();
        end.host.settle(py);
        Ok(())
    }

    /// Kills the connection (RST).
    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        let end = self.end()?;
        end.client.borrow_mut().reset();
        end.host.settle(py);
        Ok(())
    }

    fn cut(&self) -> PyResult<()> {
        let end = self.end()?;
        end.client.borrow_mut().cut();
        Ok(())
    }

    fn set_reads(&self, py: Python<'_>, reads: bool) -> PyResult<()> {
        let end = self.end()?;
        end.client.borrow_mut().set_reads(reads);
        end.host.settle(py);
        Ok(())
    }

    fn stop_answering(&self) -> PyResult<()> {
        let end = self.end()?;
        end.client.borrow_mut().stop_answering();
        Ok(())
    }

    /// Returns true if the handshake was accepted; raises `TimeoutError`, as do the others.
    fn answer(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<PyAny>> {
        self.wait(py, Awaited::Answer, timeout)
    }

    /// The next bytes of a plain answer; `None` once there are no more.
    fn receive_raw(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<PyAny>> {
        self.wait(py, Awaited::Bytes, timeout)
    }

    /// The next message; `None` once the connection is over.
    fn receive(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<PyAny>> {
        self.wait(py, Awaited::Message, timeout)
    }

    fn receive_ping(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<PyAny>> {
        self.wait(py, Awaited::Ping, timeout)
    }

    fn receive_pong(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<PyAny>> {
        self.wait(py, Awaited::Pong, timeout)
    }

    /// Waits until the server has closed.
    fn wait_closed(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<PyAny>> {
        self.wait(py, Awaited::End, timeout)
    }

    /// The server's id of this connection.
    #[getter]
    fn id(&self) -> PyResult<Option<String>> {
        let end = self.end()?;
        Ok(end.id.map(|id| id.to_string()))
    }

    #[getter]
    fn subprotocol(&self) -> PyResult<Option<String>> {
        let end = self.end()?;
        Ok(end.client.borrow().response().and_then(|response| response.subprotocol.clone()))
    }

    /// The header fields of the server's 101.
    #[getter]
    fn response_headers(&self) -> PyResult<Vec<(String, String)>> {
        let end = self.end()?;
        Ok(end.client.borrow().response().map_or_else(Vec::new, |response| response.headers.clone()))
    }

    /// True if compression was agreed on.
    #[getter]
    fn is_compressed(&self) -> PyResult<bool> {
        let end = self.end()?;
        Ok(end.client.borrow().response().is_some_and(|response| response.deflate.is_some()))
    }

    #[getter]
    fn close_code(&self) -> PyResult<Option<u16>> {
        let end = self.end()?;
        Ok(end.client.borrow().close().map(|close| close.code))
    }

    #[getter]
    fn close_reason(&self) -> PyResult<Option<String>> {
        let end = self.end()?;
        Ok(end.client.borrow().close().map(|close| close.reason.clone()))
    }

    /// True if the server has closed.
    #[getter]
    fn is_over(&self) -> PyResult<bool> {
        let end = self.end()?;
        Ok(end.client.borrow().is_over())
    }

    /// True if it would not notice that the server closes.
    #[getter]
    fn is_deaf(&self) -> PyResult<bool> {
        let end = self.end()?;
        Ok(end.client.borrow().is_deaf())
    }

    /// True if the server still has a handler for this connection, or listeners.
    #[getter]
    fn is_served(&self) -> PyResult<bool> {
        let end = self.end()?;
        Ok(end.id.is_some_and(|id| end.host.sockets.borrow().contains_key(&id)))
    }
}

impl TestConnection {
    fn end(&self) -> PyResult<&End> {
        self.0.here()
    }

    fn send_message(&self, opcode: OpCode, payload: &[u8]) -> PyResult<()> {
        let end = self.end()?;
        end.client.borrow_mut().send(|protocol, out| protocol.send_message(out, opcode, payload));
        Ok(())
    }

    fn send_control(
        &self,
        payload: &Bound<'_, PyAny>,
        send: impl FnOnce(&mut Connection, &mut Vec<u8>, &[u8]) -> Result<(), ControlTooLong>,
    ) -> PyResult<()> {
        let end = self.end()?;
        let sent =
            with_bytes(payload, |payload| end.client.borrow_mut().send(|protocol, out| send(protocol, out, payload)))?;
        end.host.settle(payload.py());
        sent.unwrap_or(Ok(())).map_err(|error| PyValueError::new_err(error.to_string()))
    }

    fn wait(&self, py: Python<'_>, awaited: Awaited, timeout: Option<f64>) -> PyResult<Py<PyAny>> {
        let end = self.end()?;
        let timeout = timeout.map(Duration::try_from_secs_f64).transpose();
        let timeout = timeout.map_err(|error| PyValueError::new_err(error.to_string()))?;
        let client = end.client.clone();
        let mut limit = timeout.map(|timeout| TimeLimit::new(end.host.clone(), end.shard.clone(), timeout));
        Waiting::lazy(py, &end.host, async move {
            poll_fn(|cx| {
                let come = awaited.take(&mut client.borrow_mut());
                if let Some(come) = come {
                    return Poll::Ready(Python::attach(|py| come.show(py)));
                }
                client.borrow_mut().await_more(cx);
                match limit.as_mut().is_some_and(|limit| limit.is_over(cx)) {
                    true => Poll::Ready(Err(PyTimeoutError::new_err(()))),
                    false => Poll::Pending,
                }
            })
            .await
        })
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.client.borrow_mut().leave();
    }
}

/// What has come. It is taken first and shown to Python afterwards, when nobody holds the client.
enum Come {
    Answer(bool),
    Bytes(Vec<u8>),
    Message(Message),
    End,
    Fault(String),
}

impl Awaited {
    fn take(self, client: &mut Client) -> Option<Come> {
        if client.is_over()
            && let Some(fault) = client.fault()
        {
            return Some(Come::Fault(fault.to_owned()));
        }
        let bytes = |bytes: Option<Vec<u8>>| bytes.map_or(Come::End, Come::Bytes);
        match self {
            Awaited::Answer => client.poll_answer().map(Come::Answer),
            Awaited::Bytes => client.poll_bytes().map(bytes),
            Awaited::Ping => client.poll_ping().map(bytes),
            Awaited::Pong => client.poll_pong().map(bytes),
            Awaited::End => client.is_over().then_some(Come::End),
            Awaited::Message => client.poll_message().map(|message| message.map_or(Come::End, Come::Message)),
        }
    }
}

impl Come {
    fn show(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(match self {
            Come::Answer(accepted) => accepted.into_pyobject(py)?.to_owned().into_any().unbind(),
            Come::Bytes(bytes) | Come::Message(Message::Binary(bytes)) => PyBytes::new(py, &bytes).into_any().unbind(),
            Come::Message(Message::Text(text)) => PyString::new(py, &text).into_any().unbind(),
            Come::End => py.None(),
            Come::Fault(fault) => {
                return Err(PyRuntimeError::new_err(format!("the server breaks the protocol: {fault}")));
            }
        })
    }
}

/// Real time, whatever a test makes of the engine's; time in which the thread was held up does not count.
struct TimeLimit {
    host: Rc<Host>,
    shard: Shard,
    timeout: Duration,
    /// Set at the first look.
    end: Option<Instant>,
    /// It was held up, and has been given its time once more.
    extended: bool,
    sleep: Option<std::pin::Pin<Box<Sleep>>>,
}

impl TimeLimit {
    fn new(host: Rc<Host>, shard: Shard, timeout: Duration) -> Self {
        TimeLimit { host, shard, timeout, end: None, extended: false, sleep: None }
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            let now = Instant::now();
            let mut end = *self.end.get_or_insert(now + self.timeout);
            if now > end + HELD_UP && !self.extended {
                self.extended = true;
                end = now + self.timeout;
                self.end = Some(end);
            }
            if now >= end {
                return true;
            }
            let at = self.host.now() + (end - now);
            let sleep = self.sleep.insert(Box::pin(self.shard.sleep_until(at)));
            if sleep.as_mut().poll(cx).is_pending() {
                return false;
            }
        }
    }
}
