//! Whose an idempotency key is: keys of the application and of its clients are apart.
//!
//! A client says its keys itself, so they must not be able to suppress what the application stores, nor what
//! other users do. Connections with one client id share their keys: a user may come back by another
//! connection. So do all connections without one.

use std::fmt::Write;
use std::sync::Arc;

use sha1::{Digest, Sha1};

/// Returns a key of the application, as the broker has it.
pub fn of_application(key: &str) -> Arc<str> {
    format!("a{key}").into()
}

/// Returns a key of a client with this client id, as the broker has it.
pub fn of_client(client_id: Option<&str>, key: &str) -> Arc<str> {
    let Some(client_id) = client_id else { return format!("n{key}").into() };
    // Of one length, so that no id and key read like others.
    let mut text = String::with_capacity(41 + key.len());
    text.push('c');
    for byte in Sha1::digest(client_id) {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.push_str(key);
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_of_one_is_a_key_of_another() {
        let keys = [
            of_application("k"),
            of_application("nk"),
            of_client(None, "k"),
            of_client(None, "ak"),
            of_client(Some("ann"), "k"),
            of_client(Some("annk"), ""),
            of_client(Some(""), "k"),
            of_client(Some("bob"), "k"),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key), "{key}");
        }
        assert_eq!(of_client(Some("ann"), "k"), of_client(Some("ann"), "k"));
    }
}
