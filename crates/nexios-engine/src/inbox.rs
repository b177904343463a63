//! Received messages waiting for the handler: bounded, in order, with a cursor for listeners.

use std::collections::VecDeque;

use crate::message::Message;
use crate::settings::Settings;

/// Exists only while messages wait; idle connections hold none.
#[derive(Default)]
pub(crate) struct Inbox {
    messages: VecDeque<Message>,
    bytes: usize,
    /// How many, from the front, the `on("message")` listeners have seen.
    heard: usize,
}

impl Inbox {
    pub(crate) fn push(&mut self, message: Message) {
        self.bytes += message.len();
        self.messages.push_back(message);
    }

    /// The oldest message; where listeners observe, only one that they have seen.
    pub(crate) fn pop(&mut self, observed: bool) -> Option<Message> {
        if observed && self.heard == 0 {
            return None;
        }
        let message = self.messages.pop_front()?;
        self.heard = self.heard.saturating_sub(1);
        self.bytes -= message.len();
        Some(message)
    }

    /// The oldest message that no listener has seen.
    pub(crate) fn unheard(&self) -> Option<&Message> {
        self.messages.get(self.heard)
    }

    pub(crate) fn mark_heard(&mut self) {
        self.heard = (self.heard + 1).min(self.messages.len());
    }

    /// Takes out the message that [`unheard`](Self::unheard) shows.
    pub(crate) fn remove_unheard(&mut self) {
        if let Some(message) = self.messages.remove(self.heard) {
            self.bytes -= message.len();
        }
    }

    /// Puts another message in the place of the one that [`unheard`](Self::unheard) shows.
    pub(crate) fn replace_unheard(&mut self, message: Message) {
        if let Some(unheard) = self.messages.get_mut(self.heard) {
            self.bytes = self.bytes + message.len() - unheard.len();
            *unheard = message;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.messages.clear();
        self.bytes = 0;
        self.heard = 0;
    }

    /// The payloads of the messages that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether reading has to pause; one message always fits.
    pub(crate) fn is_full(&self, settings: &Settings) -> bool {
        !self.messages.is_empty()
            && (self.messages.len() >= settings.inbox_messages_max || self.bytes >= settings.inbox_bytes_max)
    }

    /// Whether a paused connection may be read again: at half, so that it does not flutter.
    pub(crate) fn has_room(&self, settings: &Settings) -> bool {
        self.messages.len() <= settings.inbox_messages_max / 2 && self.bytes <= settings.inbox_bytes_max / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inbox(texts: &[&str]) -> Inbox {
        let mut inbox = Inbox::default();
        texts.iter().for_each(|text| inbox.push(Message::from(*text)));
        inbox
    }

    #[test]
    fn an_observed_message_is_handed_out_only_after_it_was_heard() {
        let mut inbox = inbox(&["a", "b"]);
        assert_eq!(inbox.pop(true), None);
        assert_eq!(inbox.unheard(), Some(&Message::from("a")));
        inbox.mark_heard();
        assert_eq!(inbox.unheard(), Some(&Message::from("b")));
        assert_eq!(inbox.pop(true), Some(Message::from("a")));
        assert_eq!(inbox.pop(true), None);
    }

    #[test]
    fn a_replaced_message_takes_the_place_and_the_bytes_of_the_one_before() {
        let mut inbox = inbox(&["a", "bcd"]);
        inbox.mark_heard();
        inbox.replace_unheard(Message::from("e"));
        inbox.mark_heard();
        assert_eq!((inbox.pop(true), inbox.bytes), (Some(Message::from("a")), 1));
        assert_eq!((inbox.pop(true), inbox.bytes), (Some(Message::from("e")), 0));
        inbox.replace_unheard(Message::from("nobody's"));
        assert!(inbox.is_empty());
    }

    #[test]
    fn it_is_full_by_count_or_by_bytes_but_one_message_always_fits() {
        let settings = Settings { inbox_messages_max: 2, inbox_bytes_max: 10, ..Settings::default() };
        assert!(!inbox(&[]).is_full(&settings));
        assert!(!inbox(&["a"]).is_full(&settings));
        assert!(inbox(&["a", "b"]).is_full(&settings));
        assert!(inbox(&["0123456789"]).is_full(&settings));
    }
}
