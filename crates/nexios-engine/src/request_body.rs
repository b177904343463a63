//! The body of a plain HTTP request.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use parking_lot::Mutex;

/// The body of a plain HTTP request, as hyper reads it. A client that sends it too slowly while it is awaited is cut.
#[derive(Debug)]
pub struct RequestBody {
    body: Incoming,
    progress: Arc<Progress>,
}

/// What the connection knows of the body that is being received.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    is_awaited: AtomicBool,
    bytes: AtomicUsize,
    /// The connection's: the body may be read by another task, on another thread.
    watcher: Mutex<Option<Waker>>,
}

impl RequestBody {
    pub(crate) fn new(body: Incoming, progress: Arc<Progress>) -> Self {
        RequestBody { body, progress }
    }
}

impl Progress {
    /// Returns true while the application waits for more of the body.
    pub(crate) fn is_awaited(&self) -> bool {
        self.is_awaited.load(Ordering::Acquire)
    }

    /// Wakes the connection when the application begins to wait.
    pub(crate) fn watch(&self, waker: &Waker) {
        let mut watcher = self.watcher.lock();
        if watcher.as_ref().is_none_or(|watching| !watching.will_wake(waker)) {
            *watcher = Some(waker.clone());
        }
    }

    fn begins_to_wait(&self) {
        if !self.is_awaited.swap(true, Ordering::AcqRel) {
            let watcher = self.watcher.lock().clone();
            watcher.into_iter().for_each(Waker::wake);
        }
    }

    /// Takes the count of bytes that have arrived since the last call.
    pub(crate) fn take_bytes(&self) -> usize {
        self.bytes.swap(0, Ordering::AcqRel)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Pending => self.progress.begins_to_wait(),
            Poll::Ready(frame) => {
                self.progress.is_awaited.store(false, Ordering::Release);
                let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref);
                self.progress.bytes.fetch_add(data.map_or(0, Bytes::len), Ordering::AcqRel);
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.progress.is_awaited.store(false, Ordering::Release);
    }
}
