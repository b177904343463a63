//! What waits for one node, and how it is written.

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::Notify;

/// Bytes that are written at once.
const WRITE_BYTES: usize = 256 << 10;

/// What waits for one node.
#[derive(Default)]
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
    written: Notify,
}

#[derive(Default)]
struct Queue {
    frames: Vec<Bytes>,
    bytes: usize,
    cut: bool,
}

impl Outbox {
    pub(super) fn push(&self, frame: Bytes, bytes_max: usize) {
        let mut queue = self.queue.lock();
        if queue.cut {
            return;
        }
        if queue.bytes + frame.len() > bytes_max {
            *queue = Queue { cut: true, ..Queue::default() };
            self.written.notify_one();
        } else {
            queue.bytes += frame.len();
            queue.frames.push(frame);
        }
        drop(queue);
        self.filled.notify_one();
    }

    /// Waits until no more than so many bytes wait.
    pub(super) async fn drained_to(&self, bytes: usize) {
        while self.queue.lock().bytes > bytes {
            self.written.notified().await;
        }
    }

    /// What waits; `None` where the node has been cut.
    fn take(&self) -> Option<Vec<Bytes>> {
        let mut queue = self.queue.lock();
        (!queue.cut).then(|| std::mem::take(&mut queue.frames))
    }

    fn wrote(&self, bytes: usize) {
        let mut queue = self.queue.lock();
        queue.bytes = queue.bytes.saturating_sub(bytes);
        drop(queue);
        self.written.notify_one();
    }
}

/// Writes what waits, until the node is gone; `true` where it has been cut.
pub(super) async fn write(outbox: &Outbox, mut writer: OwnedWriteHalf) -> bool {
    let mut buffer = Vec::with_capacity(WRITE_BYTES);
    loop {
        let Some(frames) = outbox.take() else { return true };
        if frames.is_empty() {
            outbox.filled.notified().await;
            continue;
        }
        for frame in frames {
            buffer.extend_from_slice(&frame);
            if buffer.len() >= WRITE_BYTES && !flush(outbox, &mut writer, &mut buffer).await {
                return outbox.take().is_none();
            }
        }
        if !flush(outbox, &mut writer, &mut buffer).await {
            return outbox.take().is_none();
        }
    }
}

/// `false` where nobody takes it: the node is gone, or was cut meanwhile.
async fn flush(outbox: &Outbox, writer: &mut OwnedWriteHalf, buffer: &mut Vec<u8>) -> bool {
    let writing = writer.write_all(buffer);
    let cut = async {
        while !outbox.queue.lock().cut {
            outbox.filled.notified().await;
        }
    };
    let written = tokio::select! {
        result = writing => result.is_ok(),
        () = cut => false,
    };
    outbox.wrote(buffer.len());
    buffer.clear();
    buffer.shrink_to(WRITE_BYTES);
    written
}
