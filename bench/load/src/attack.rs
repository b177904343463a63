//! A client that works against the others: it has the server do all that it can be made to do.

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use crate::clients::Clients;
use crate::content::Content;
use crate::deflate;
use crate::frame;
use crate::target::Target;

/// One client's attack on the time of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Attack {
    /// Compressed messages of a kilobyte that inflate to almost a mebibyte, 120 in flight, to a route that compresses.
    Inflating,
    /// Messages of 8 bytes, 10,000 in flight, to a route that echoes.
    Flooding,
}

/// Just below the limit that servers have by default.
const INFLATED_BYTES: usize = (1 << 20) - 64;

impl Attack {
    fn path(self) -> &'static str {
        match self {
            Self::Inflating => "/deflate",
            Self::Flooding => "/echo",
        }
    }

    fn in_flight(self) -> usize {
        match self {
            Self::Inflating => 120,
            Self::Flooding => 10_000,
        }
    }

    fn frame(self, target: &Target) -> Vec<u8> {
        match self {
            Self::Inflating => {
                let payload = Content::letters(INFLATED_BYTES).payload();
                frame::masked(target.kind(), true, &deflate::compress(&payload))
            }
            Self::Flooding => Content::letters(8).frame(target.kind()),
        }
    }
}

/// The client that attacks.
pub(crate) struct Attacker {
    clients: Clients,
}

impl Attacker {
    /// Connects and sends what may be in flight at once.
    pub(crate) fn open(target: &Target, attack: Attack) -> Result<Self> {
        let compresses = attack == Attack::Inflating;
        let mut clients =
            Clients::open_sending(target, attack.path(), 1, compresses, &attack.frame(target), attack.in_flight())?;
        clients.send(0, attack.in_flight())?;
        Ok(Self { clients })
    }

    /// Takes the answers that are there and sends one message more for each.
    pub(crate) fn advance(&mut self) -> Result<()> {
        if self.clients.poller().wait(Duration::ZERO)? > 0 {
            let answers = self.clients.receive(0)?;
            self.clients.send(0, answers)?;
        }
        Ok(())
    }
}
