//! Offers and answers of `Sec-WebSocket-Extensions` (RFC 6455 §9.1, RFC 7692 §5 and §7.1).

use crate::handshake::{HandshakeError, trim_whitespace_of};

const NAME: &str = "permessage-deflate";
const WINDOW_BITS_MIN: u8 = 8;
const WINDOW_BITS_MAX: u8 = 15;

/// One `permessage-deflate` of a client's list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DeflateOffer {
    /// The server shall forget its window after each message.
    pub server_no_context_takeover: bool,
    /// The client will forget its window after each message.
    pub client_no_context_takeover: bool,
    /// The largest window that the server may use.
    pub server_max_window_bits: Option<u8>,
    /// The client understands this parameter, and would itself use at most that window.
    pub client_max_window_bits: Option<Option<u8>>,
}

/// How we compress, and what we ask of the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeflateConfig {
    /// Keep windows between messages, on both sides.
    pub takeover: bool,
    /// Our largest window as a power of two, 9 to 15.
    pub window_bits: u8,
    /// Effort, 1 to 9.
    pub level: u8,
    /// zlib's memory level, 1 to 9.
    pub mem_level: u8,
}

/// What both sides will do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Agreed {
    /// The server forgets its window after each message.
    pub server_no_context_takeover: bool,
    /// The client forgets its window after each message.
    pub client_no_context_takeover: bool,
    /// The server's window, 9 to 15.
    pub server_max_window_bits: u8,
    /// The client's window, 8 to 15.
    pub client_max_window_bits: u8,
}

impl Default for DeflateConfig {
    fn default() -> Self {
        // Level 2 of zlib-rs: 4 % larger than level 6 on 2 KiB of JSON, in little more than half the time.
        DeflateConfig { takeover: false, window_bits: 15, level: 2, mem_level: 8 }
    }
}

/// The offers in the values of `Sec-WebSocket-Extensions`, in order; other extensions and
/// offers with unknown, repeated or malformed parameters are left out (RFC 7692 §7.1).
///
/// ```
/// use nexios_protocol::parse_offers;
/// let offers = parse_offers(["foo, permessage-deflate; client_max_window_bits"]);
/// assert_eq!(offers.len(), 1);
/// assert_eq!(offers[0].client_max_window_bits, Some(None));
/// ```
pub fn parse_offers<'a>(values: impl IntoIterator<Item = &'a str>) -> Vec<DeflateOffer> {
    let extensions = values.into_iter().flat_map(|value| split_outside_quotes(value, ','));
    extensions.filter_map(parse_offer).collect()
}

/// Picks the first acceptable offer; returns what is agreed and the answer's header value.
pub fn negotiate(config: &DeflateConfig, offers: &[DeflateOffer]) -> Option<(Agreed, String)> {
    offers.iter().find_map(|offer| accept_offer(config, offer))
}

/// The client's offer, as the value of `Sec-WebSocket-Extensions`.
pub fn offer_header(config: &DeflateConfig) -> String {
    let mut header = format!("{NAME}; client_max_window_bits");
    if config.window_bits < WINDOW_BITS_MAX {
        header.push_str(&format!("={0}; server_max_window_bits={0}", config.window_bits));
    }
    if !config.takeover {
        header.push_str("; server_no_context_takeover; client_no_context_takeover");
    }
    header
}

/// What a server's answer means for a client that sent [`offer_header`].
pub(crate) fn accept_response(value: &str, config: &DeflateConfig) -> Result<Option<Agreed>, HandshakeError> {
    let extensions: Vec<&str> = split_outside_quotes(value, ',').collect();
    let [extension] = extensions[..] else { return Err(HandshakeError::Extension) };
    let answer = parse_offer(extension).ok_or(HandshakeError::Extension)?;
    let client_bits = match answer.client_max_window_bits {
        Some(None) => return Err(HandshakeError::Extension),
        Some(Some(bits)) => bits.max(WINDOW_BITS_MIN + 1),
        None => WINDOW_BITS_MAX,
    };
    if config.window_bits < WINDOW_BITS_MAX
        && answer.server_max_window_bits.is_none_or(|bits| bits > config.window_bits)
    {
        return Err(HandshakeError::Extension);
    }
    if !config.takeover && !answer.server_no_context_takeover {
        return Err(HandshakeError::Extension);
    }
    Ok(Some(Agreed {
        server_no_context_takeover: answer.server_no_context_takeover,
        client_no_context_takeover: answer.client_no_context_takeover || !config.takeover,
        server_max_window_bits: answer.server_max_window_bits.unwrap_or(WINDOW_BITS_MAX),
        client_max_window_bits: client_bits.min(config.window_bits),
    }))
}

fn accept_offer(config: &DeflateConfig, offer: &DeflateOffer) -> Option<(Agreed, String)> {
    let server_bits = offer.server_max_window_bits.unwrap_or(WINDOW_BITS_MAX).min(config.window_bits);
    if server_bits <= WINDOW_BITS_MIN {
        // zlib cannot make a window of 256 bytes; the next offer may be another.
        return None;
    }
    // Only a client that names the parameter understands a limit on its own window.
    let client_bits = match offer.client_max_window_bits {
        Some(hint) => hint.unwrap_or(WINDOW_BITS_MAX).min(config.window_bits),
        None => WINDOW_BITS_MAX,
    };
    let agreed = Agreed {
        server_no_context_takeover: offer.server_no_context_takeover || !config.takeover,
        client_no_context_takeover: offer.client_no_context_takeover || !config.takeover,
        server_max_window_bits: server_bits,
        client_max_window_bits: client_bits,
    };
    let mut header = NAME.to_owned();
    if agreed.server_no_context_takeover {
        header.push_str("; server_no_context_takeover");
    }
    if agreed.client_no_context_takeover {
        header.push_str("; client_no_context_takeover");
    }
    if offer.server_max_window_bits.is_some() || server_bits < WINDOW_BITS_MAX {
        header.push_str(&format!("; server_max_window_bits={server_bits}"));
    }
    if offer.client_max_window_bits.is_some() && client_bits < WINDOW_BITS_MAX {
        header.push_str(&format!("; client_max_window_bits={client_bits}"));
    }
    Some((agreed, header))
}

fn parse_offer(extension: &str) -> Option<DeflateOffer> {
    let mut parts = split_outside_quotes(extension, ';');
    if !parts.next()?.eq_ignore_ascii_case(NAME) {
        return None;
    }
    let mut offer = DeflateOffer::default();
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (trim_whitespace_of(name), Some(unquote(trim_whitespace_of(value))?)),
            None => (part, None),
        };
        let fresh = match (name, value) {
            ("server_no_context_takeover", None) => !std::mem::replace(&mut offer.server_no_context_takeover, true),
            ("client_no_context_takeover", None) => !std::mem::replace(&mut offer.client_no_context_takeover, true),
            ("server_max_window_bits", Some(bits)) => {
                offer.server_max_window_bits.replace(window_bits(bits)?).is_none()
            }
            ("client_max_window_bits", bits) => {
                let bits = bits.map(|bits| window_bits(bits).ok_or(())).transpose().ok()?;
                offer.client_max_window_bits.replace(bits).is_none()
            }
            _ => false,
        };
        if !fresh {
            return None;
        }
    }
    Some(offer)
}

/// 8 to 15, without leading zeros (RFC 7692 §7.1.2).
fn window_bits(text: &str) -> Option<u8> {
    let bits = text.parse().ok().filter(|bits| (WINDOW_BITS_MIN..=WINDOW_BITS_MAX).contains(bits))?;
    (!text.starts_with(['0', '+'])).then_some(bits)
}

fn unquote(value: &str) -> Option<&str> {
    match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"'),
        None => Some(value),
    }
}

fn split_outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let is_separator = move |c: char| {
        quoted ^= c == '"';
        c == separator && !quoted
    };
    text.split(is_separator).map(trim_whitespace_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(config: DeflateConfig, header: &str) -> Option<String> {
        negotiate(&config, &parse_offers([header])).map(|(_, header)| header)
    }

    const NO_TAKEOVER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    #[test]
    fn offers_are_answered_as_rfc_7692_asks() {
        let takeover = DeflateConfig { takeover: true, ..DeflateConfig::default() };
        let small = DeflateConfig { takeover: true, window_bits: 10, ..DeflateConfig::default() };
        let table = [
            (DeflateConfig::default(), "permessage-deflate", Some(NO_TAKEOVER)),
            (takeover, "permessage-deflate", Some("permessage-deflate")),
            (takeover, "permessage-deflate; client_max_window_bits", Some("permessage-deflate")),
            (
                takeover,
                "permessage-deflate; server_max_window_bits=10",
                Some("permessage-deflate; server_max_window_bits=10"),
            ),
            (
                takeover,
                "permessage-deflate; server_max_window_bits=\"10\"",
                Some("permessage-deflate; server_max_window_bits=10"),
            ),
            (small, "permessage-deflate", Some("permessage-deflate; server_max_window_bits=10")),
            (
                small,
                "permessage-deflate; client_max_window_bits",
                Some("permessage-deflate; server_max_window_bits=10; client_max_window_bits=10"),
            ),
            (takeover, "permessage-deflate; server_max_window_bits=8", None),
            (takeover, "permessage-deflate; server_max_window_bits=8, permessage-deflate", Some("permessage-deflate")),
            (takeover, "permessage-deflate; server_max_window_bits", None),
            (takeover, "permessage-deflate; server_max_window_bits=16", None),
            (takeover, "permessage-deflate; server_max_window_bits=09", None),
            (takeover, "permessage-deflate; unknown", None),
            (takeover, "permessage-deflate; server_no_context_takeover=1", None),
            (takeover, "permessage-deflate; client_no_context_takeover; client_no_context_takeover", None),
            (takeover, "x-webkit-deflate-frame", None),
            (takeover, "", None),
        ];
        for (config, offer, expected) in table {
            assert_eq!(answer(config, offer).as_deref(), expected, "{offer}");
        }
    }

    #[test]
    fn a_client_accepts_what_it_could_have_offered() {
        let config = DeflateConfig::default();
        let agreed = accept_response(NO_TAKEOVER, &config).ok().flatten().unwrap();
        assert!(agreed.server_no_context_takeover && agreed.client_no_context_takeover);
        for bad in [
            "permessage-deflate; client_max_window_bits",
            "foo",
            "permessage-deflate, permessage-deflate",
            "permessage-deflate",
        ] {
            assert!(accept_response(bad, &config).is_err(), "{bad}");
        }
    }
}
