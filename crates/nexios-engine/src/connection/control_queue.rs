//! Control frames that wait for the application.

use std::collections::VecDeque;
use std::task::Waker;

use super::waiters::wake;

/// Control frames kept for `receive_ping` and `receive_pong`; the oldest goes first.
const CONTROL_QUEUE_MAX: usize = 16;

/// Payloads of control frames that nobody has asked for yet.
#[derive(Default)]
pub(super) struct ControlQueue {
    pub(super) payloads: VecDeque<Vec<u8>>,
    pub(super) receiver: Option<Waker>,
    pub(super) receiving: bool,
}

impl ControlQueue {
    pub(super) fn push(&mut self, payload: Vec<u8>) {
        if self.payloads.len() == CONTROL_QUEUE_MAX {
            self.payloads.pop_front();
        }
        self.payloads.push_back(payload);
        wake(&mut self.receiver);
    }
}
