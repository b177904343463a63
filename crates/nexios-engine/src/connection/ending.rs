//! The end of a connection: one stage at a time, and the close code with which it ends.

use nexios_protocol::{ABNORMAL, CloseFrame, NO_STATUS};

/// The code and reason of the side that closed first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CloseInfo {
    /// The close code (RFC 6455 §7.4); 1005 if the frame had none, 1006 if there was no frame.
    pub code: u16,
    /// The reason, possibly empty.
    pub reason: Box<str>,
}

/// How far a connection has come towards its end.
///
/// The stages, and what each event makes of them; `·` leaves the stage as it is:
///
/// | stage | `close` | `hang_up` | `answer` | `last_word` | `cut` | `output_is_out` | `reap` |
/// |---|---|---|---|---|---|---|---|
/// | `Open` | `Closing` | `HungUp` | `Answered` | `HangingUp` | `Finished` | · | `Reaped` |
/// | `Closing`: our Close frame is queued, the peer's is awaited | · | · | · | `HangingUp` | `Finished` | · | `Reaped` |
/// | `HungUp`: the peer left while reading was paused, and some input is not handed out | · | · | · | `HangingUp` | `Finished` | · | `Reaped` |
/// | `Answered`: plain HTTP, and its last answer is out | · | · | · | · | `Finished` | · | `Reaped` |
/// | `HangingUp`: over; the last word is in the outbox, and we hang up behind it | · | · | · | · | `Finished` | `Finished` | `Reaped` |
/// | `Finished`: over, and nothing is left to be sent | · | · | · | · | · | · | `Reaped` |
/// | `Reaped`: the socket is gone and no longer counted | · | · | · | · | · | · | · |
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Ending(Stage);

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Stage {
    #[default]
    Open,
    Closing,
    HungUp,
    Answered,
    HangingUp,
    Finished,
    Reaped,
}

impl Ending {
    /// Our Close frame is queued.
    pub(super) fn close(&mut self) {
        if self.0 == Stage::Open {
            self.0 = Stage::Closing;
        }
    }

    /// The peer has left while reading was paused.
    pub(super) fn hang_up(&mut self) {
        if self.0 == Stage::Open {
            self.0 = Stage::HungUp;
        }
    }

    /// The last answer of plain HTTP is out.
    pub(crate) fn answer(&mut self) {
        if self.0 == Stage::Open {
            self.0 = Stage::Answered;
        }
    }

    /// The last word is queued: the answer to the peer's Close frame, or a refusal.
    pub(super) fn last_word(&mut self) {
        if matches!(self.0, Stage::Open | Stage::Closing | Stage::HungUp) {
            self.0 = Stage::HangingUp;
        }
    }

    /// The connection is over at once.
    pub(super) fn cut(&mut self) {
        if self.0 != Stage::Reaped {
            self.0 = Stage::Finished;
        }
    }

    /// The outbox is empty. Returns true if the last word was in it: now we hang up.
    pub(super) fn output_is_out(&mut self) -> bool {
        let hangs_up = self.0 == Stage::HangingUp;
        if hangs_up {
            self.0 = Stage::Finished;
        }
        hangs_up
    }

    /// The socket is given back and no longer counted.
    pub(crate) fn reap(&mut self) {
        self.0 = Stage::Reaped;
    }

    /// Returns true until the end begins.
    #[inline]
    pub(crate) fn is_open(self) -> bool {
        self.0 == Stage::Open
    }

    /// Returns true if the peer has left and what it sent before can still be received.
    pub(super) fn has_hung_up(self) -> bool {
        self.0 == Stage::HungUp
    }

    /// Returns true if plain HTTP has been answered for the last time, and nothing has been cut since.
    pub(super) fn is_answered(self) -> bool {
        self.0 == Stage::Answered
    }

    /// Returns true if no input will be added to the inbox any more.
    pub(super) fn is_input_over(self) -> bool {
        matches!(self.0, Stage::Closing | Stage::HangingUp | Stage::Finished | Stage::Reaped)
    }

    /// Returns true if both sides are done, or the connection is cut: `closed()` resolves.
    pub(super) fn is_finished(self) -> bool {
        matches!(self.0, Stage::HungUp | Stage::HangingUp | Stage::Finished | Stage::Reaped)
    }

    /// Returns true if the socket is gone and no longer counted.
    pub(crate) fn is_reaped(self) -> bool {
        self.0 == Stage::Reaped
    }
}

impl CloseInfo {
    pub(crate) fn new(code: u16, reason: &str) -> Self {
        CloseInfo { code, reason: reason.into() }
    }

    /// Returns how a connection ended that was cut, or died of silence (RFC 6455 §7.1.5).
    pub(crate) fn cut() -> Self {
        CloseInfo::new(ABNORMAL, "")
    }

    pub(super) fn of_frame(frame: Option<&CloseFrame<'_>>) -> Self {
        frame.map_or_else(|| CloseInfo::new(NO_STATUS, ""), |frame| CloseInfo::new(frame.code.get(), frame.reason))
    }
}

#[cfg(test)]
mod tests {
    use super::Stage::{Answered, Closing, Finished, HangingUp, HungUp, Open, Reaped};
    use super::*;

    const STAGES: [Stage; 7] = [Open, Closing, HungUp, Answered, HangingUp, Finished, Reaped];

    type Event = fn(&mut Ending);

    /// The table of [`Ending`]: what each event makes of each of [`STAGES`].
    const TABLE: [(&str, Event, [Stage; 7]); 7] = [
        ("close", Ending::close, [Closing, Closing, HungUp, Answered, HangingUp, Finished, Reaped]),
        ("hang_up", Ending::hang_up, [HungUp, Closing, HungUp, Answered, HangingUp, Finished, Reaped]),
        ("answer", Ending::answer, [Answered, Closing, HungUp, Answered, HangingUp, Finished, Reaped]),
        ("last_word", Ending::last_word, [HangingUp, HangingUp, HangingUp, Answered, HangingUp, Finished, Reaped]),
        ("cut", Ending::cut, [Finished, Finished, Finished, Finished, Finished, Finished, Reaped]),
        ("output_is_out", output_is_out, [Open, Closing, HungUp, Answered, Finished, Finished, Reaped]),
        ("reap", Ending::reap, [Reaped; 7]),
    ];

    fn output_is_out(ending: &mut Ending) {
        let hangs_up = *ending == Ending(HangingUp);
        assert_eq!(ending.output_is_out(), hangs_up);
    }

    #[test]
    fn every_event_makes_of_every_stage_what_the_table_says() {
        for (name, event, expected) in TABLE {
            for (stage, expected) in STAGES.into_iter().zip(expected) {
                let mut ending = Ending(stage);
                event(&mut ending);
                assert_eq!(ending, Ending(expected), "{name} in {stage:?}");
            }
        }
    }

    #[test]
    fn nothing_that_has_begun_is_taken_back() {
        let answers = |stage: Stage| {
            let ending = Ending(stage);
            [!ending.is_open(), ending.is_input_over(), ending.is_finished(), ending.is_reaped()]
        };
        for (name, event, _) in TABLE {
            for stage in STAGES {
                let mut ending = Ending(stage);
                event(&mut ending);
                let kept = answers(stage).into_iter().zip(answers(ending.0)).all(|(before, after)| !before || after);
                assert!(kept, "{name} in {stage:?}");
            }
        }
    }

    #[test]
    fn a_connection_begins_without_an_end() {
        let ending = Ending::default();
        assert!(ending.is_open() && !ending.is_input_over() && !ending.is_finished() && !ending.is_reaped());
    }
}
