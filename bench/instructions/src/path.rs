//! The hot paths by name.

use anyhow::Result;
use clap::ValueEnum;

use crate::{protocol, turns};

/// What is done once for each frame, message, turn or delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HotPath {
    /// Reading the header of a masked frame of 20 bytes.
    FrameParse,
    /// Unmasking 1 KiB.
    Unmask,
    /// From a masked frame of 20 bytes to a text message.
    MessageDecode,
    /// A turn of a shard in which one connection gets a message of 20 bytes and sends it back.
    EchoTurn,
    /// The same with 16 messages at once.
    PipelineTurn,
    /// A turn in which 256 bytes go to 100 connections.
    BroadcastTurn,
    /// A message there and back through an app, both ends of the test client included.
    AppEcho,
}

impl HotPath {
    /// Goes the path so many times.
    pub(crate) fn run(self, times: u32) -> Result<()> {
        match self {
            Self::FrameParse => protocol::parse(times),
            Self::Unmask => protocol::unmask(times),
            Self::MessageDecode => protocol::decode(times),
            Self::EchoTurn => turns::echo(1, times),
            Self::PipelineTurn => turns::echo(16, times),
            Self::BroadcastTurn => turns::broadcast(100, times),
            Self::AppEcho => turns::app_echo(times),
        }
    }

    /// The function within which is counted; everything without.
    pub(crate) fn counted_in(self) -> Option<&'static str> {
        match self {
            Self::EchoTurn | Self::PipelineTurn | Self::BroadcastTurn => Some("*counted_turn*"),
            Self::FrameParse | Self::Unmask | Self::MessageDecode | Self::AppEcho => None,
        }
    }

    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}
