//! What a message is made of.

use crate::deflate;
use crate::frame::{self, Kind};

const NAMES: [&str; 12] =
    ["ada", "grace", "alan", "edsger", "barbara", "donald", "margaret", "dennis", "ken", "linus", "radia", "leslie"];
const ROOMS: [&str; 3] = ["general", "random", "help"];
const WORDS: &str = "the of and to in is that for it was on are as with his they be at one have this from by hot but \
    some what there we can out other were all your when up use word how said an each she which do their time if will \
    way about many then them would write like so these her long make thing see him two has look more day could go \
    come did my sound no most number who over know water than call first people may down side been now find";

/// The payload of every message of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Bytes of payload, before it is compressed.
    pub size: usize,
    /// JSON through permessage-deflate (RFC 7692) without context takeover; letters otherwise.
    pub deflate: bool,
}

impl Content {
    /// Letters that are sent as they are.
    pub fn letters(size: usize) -> Self {
        Self { size, deflate: false }
    }

    pub(crate) fn payload(self) -> Vec<u8> {
        if self.deflate { json(self.size) } else { (b'a'..=b'z').cycle().take(self.size).collect() }
    }

    /// The masked frame that a client sends.
    pub(crate) fn frame(self, kind: Kind) -> Vec<u8> {
        let payload = self.payload();
        if self.deflate {
            frame::masked(kind, true, &deflate::compress(&payload))
        } else {
            frame::masked(kind, false, &payload)
        }
    }

    /// What zlib makes of the payload at its default level, 6; without deflate the size itself.
    pub(crate) fn zlib_bytes(self) -> u64 {
        let payload = self.payload();
        let length = if self.deflate { deflate::compress(&payload).len() } else { payload.len() };
        length as u64
    }
}

/// Messages of a chat: the same keys again and again, values that differ.
fn json(size: usize) -> Vec<u8> {
    let mut random = Random(1);
    let mut text = String::from("{\"messages\":[");
    for number in 0.. {
        let record = record(number, &mut random);
        if text.len() + record.len() + 12 > size {
            break;
        }
        text.push_str(&record);
    }
    text.push_str("],\"note\":\"");
    let padding = size.saturating_sub(text.len() + 2);
    text.extend(('a'..='z').cycle().take(padding));
    text.push_str("\"}");
    text.into_bytes()
}

fn record(number: u64, random: &mut Random) -> String {
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let comma = if number == 0 { "" } else { "," };
    let (id, from, room) = (100_000 + number, random.pick(&NAMES), random.pick(&ROOMS));
    let said: Vec<&str> = (0..3 + random.below(7)).map(|_| random.pick(&words)).collect();
    let (likes, at) = (random.below(60), 1_760_000_000_000 + 1000 * number + random.below(1000));
    format!(
        "{comma}{{\"id\":{id},\"from\":\"{from}\",\"room\":\"{room}\",\"text\":\"{}\",\"likes\":{likes},\"at\":{at}}}",
        said.join(" ")
    )
}

/// The same numbers in every run.
struct Random(u32);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        u64::from(self.0 >> 8) % limit
    }

    fn pick<'a>(&mut self, among: &[&'a str]) -> &'a str {
        among[self.below(among.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_size_asked_for_and_compresses_like_json() {
        for size in [512, 2048] {
            let text = Content { size, deflate: true }.payload();
            assert_eq!(text.len(), size);
            let parsed: serde_json::Value = serde_json::from_slice(&text).unwrap();
            assert!(parsed["messages"].as_array().unwrap().len() > 1);
        }
        let compressed = Content { size: 2048, deflate: true }.zlib_bytes();
        assert!((500..700).contains(&compressed), "{compressed}");
    }

    #[test]
    fn letters_are_not_compressed() {
        assert_eq!(Content::letters(28).payload(), b"abcdefghijklmnopqrstuvwxyzab");
        assert_eq!(Content::letters(28).zlib_bytes(), 28);
    }
}
