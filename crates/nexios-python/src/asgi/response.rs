//! The application's `http.response.*` messages, and the response that hyper makes of them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame};
use nexios_engine::ResponseBody;
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict};

use super::exchange::{Exchange, SendError};
use crate::convert::with_bytes;

/// A part of a body that is larger is lent to hyper, not copied.
const COPIED_BYTES_MAX: usize = 32 << 10;

/// A message that `send()` was given.
pub(crate) enum Message {
    Start(Head),
    Body { part: Bytes, more: bool },
}

/// Status and header fields.
pub(crate) struct Head {
    status: StatusCode,
    headers: HeaderMap,
    /// The length that the application names.
    pub(crate) content_length: Option<u64>,
}

impl Message {
    pub(crate) fn of(message: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = message.py();
        let message = match message.cast::<PyDict>() {
            Ok(message) => message.clone(),
            Err(_) => py.get_type::<PyDict>().call1((message,))?.cast_into::<PyDict>()?,
        };
        let kind = message.get_item(intern!(py, "type"))?;
        let kind = kind.ok_or_else(|| PyRuntimeError::new_err("an ASGI message has a \"type\""))?;
        let kind: &str = &kind.extract::<pyo3::pybacked::PyBackedStr>()?;
        match kind {
            "http.response.start" => Head::of(&message).map(Message::Start),
            "http.response.body" => Message::body(&message),
            other => {
                Err(PyRuntimeError::new_err(format!("there is no ASGI message {other:?} that an HTTP response has")))
            }
        }
    }

    fn body(message: &Bound<'_, PyDict>) -> PyResult<Self> {
        let py = message.py();
        let part = match message.get_item(intern!(py, "body"))? {
            Some(body) => to_bytes(&body)?,
            None => Bytes::new(),
        };
        let more = message.get_item(intern!(py, "more_body"))?;
        let more = more.map_or(Ok(false), |more| more.is_truthy())?;
        Ok(Message::Body { part, more })
    }
}

impl Head {
    fn of(message: &Bound<'_, PyDict>) -> PyResult<Self> {
        let py = message.py();
        let status = message.get_item(intern!(py, "status"))?;
        let status = status.ok_or_else(|| PyRuntimeError::new_err("http.response.start has a \"status\""))?;
        let mut head =
            Head { status: final_status(status.extract()?)?, headers: HeaderMap::new(), content_length: None };
        if let Some(fields) = message.get_item(intern!(py, "headers"))? {
            for field in fields.try_iter()? {
                let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = pair(&field?)?;
                head.push(&name, &value)?;
            }
        }
        Ok(head)
    }

    fn push(&mut self, name: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let parsed = with_bytes(name, HeaderName::from_bytes)?;
        let name = parsed.map_err(|_| PyRuntimeError::new_err(format!("{name:?} cannot be the name of a header")))?;
        let parsed = with_bytes(value, |value| HeaderValue::from_bytes(value.trim_ascii()))?;
        let value = parsed.map_err(|_| PyRuntimeError::new_err(format!("{value:?} cannot be the value of {name}")))?;
        // The server frames the body, by the ASGI specification.
        if name == header::TRANSFER_ENCODING {
            return Ok(());
        }
        if name == header::CONTENT_LENGTH {
            let length = value.to_str().ok().and_then(|text| text.parse().ok());
            let length = length.ok_or_else(|| PyRuntimeError::new_err("content-length is not a number"))?;
            self.content_length = Some(length);
            self.headers.insert(name, value);
            return Ok(());
        }
        self.headers.append(name, value);
        Ok(())
    }

    /// Whatever the application sends as body, there is none.
    pub(crate) fn has_no_body(&self) -> bool {
        matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    }

    pub(crate) fn into_response(mut self, body: ResponseBody) -> Response<ResponseBody> {
        if self.status == StatusCode::NO_CONTENT {
            self.headers.remove(header::CONTENT_LENGTH);
        }
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

fn final_status(status: u16) -> PyResult<StatusCode> {
    let known = StatusCode::from_u16(status).ok().filter(|status| !status.is_informational());
    known.ok_or_else(|| PyRuntimeError::new_err(format!("{status} is not the status of a response")))
}

fn pair<'py>(field: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    match field.extract() {
        Ok(pair) => Ok(pair),
        // A list of two does as well.
        Err(_) => Ok((field.get_item(0)?, field.get_item(1)?)),
    }
}

fn to_bytes(value: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    match value.cast::<PyBytes>() {
        Ok(bytes) if bytes.as_bytes().len() > COPIED_BYTES_MAX => {
            Ok(Bytes::from_owner(PyBackedBytes::from(bytes.clone())))
        }
        _ => with_bytes(value, Bytes::copy_from_slice),
    }
}

impl From<SendError> for PyErr {
    fn from(error: SendError) -> PyErr {
        PyRuntimeError::new_err(match error {
            SendError::StartedTwice => "http.response.start was sent twice",
            SendError::NotStarted => "http.response.body was sent before http.response.start",
            SendError::AfterTheEnd => "the response is complete: nothing can be sent any more",
            SendError::TooLong => "the body is longer than content-length says",
            SendError::TooShort => "the body is shorter than content-length says",
        })
    }
}

/// A body that comes in parts, while the application makes them.
pub(super) struct Streamed(pub(super) Arc<Exchange>);

impl Body for Streamed {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = self.0.poll_part(cx);
        polled.map(|part| part.map(|part| part.map(Frame::data).map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_sent()
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        if !self.0.is_sent() {
            self.0.lose_client();
        }
    }
}
