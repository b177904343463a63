//! Rooms with history: what a node does with their logs.
//!
//! A broadcast to such a room is appended to its log (`appends`) and reaches all its members, those
//! of this node too, in the broker's one order. The node follows each room that has members here
//! (`following`, `follow`): it passes entries on, sees holes, and reads what is missing (`reads`). A
//! client that comes back is brought to where the node is, then joins the room (`attach`).

mod appends;
mod attach;
mod declarations;
mod follow;
mod following;
pub(crate) mod keys;
pub(crate) mod log;
mod page;
mod reads;

pub use appends::Stored;
pub(crate) use appends::{Appends, Confirmation};
pub(crate) use attach::Attach;
pub use attach::{Admission, Admit, Attached, Since};
pub use declarations::{Declarations, Declared};
pub(crate) use following::{Following, ReadDone};
pub use page::{HistoryPage, ReadingHistory, StoredMessage};
pub(crate) use reads::{Question, Reads};

/// Entries that a node asks for at once.
pub const PAGE_LEN: usize = 128;
