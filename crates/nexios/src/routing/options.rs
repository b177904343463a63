//! What an app, a router and a route can each set; the innermost wins.

use std::sync::Arc;
use std::time::Duration;

use nexios_engine::Settings;

use crate::live::Retry;

type Change = Arc<dyn Fn(&mut Settings) + Send + Sync>;

/// What one level sets; the rest is left to the level around it.
#[derive(Clone, Default)]
pub(crate) struct Options {
    /// Applied in order, outermost level first.
    changes: Vec<Change>,
    pub(crate) origins: Option<Vec<String>>,
    pub(crate) refuse_before_accept: Option<bool>,
    pub(crate) subprotocols: Option<Vec<String>>,
    pub(crate) cancel_on_disconnect: Option<bool>,
    pub(crate) retry: Option<Retry>,
    pub(crate) watched_rooms_max: Option<Option<usize>>,
    pub(crate) hold_timeout: Option<Duration>,
    pub(crate) leave_delay: Option<Duration>,
    pub(crate) live: Option<bool>,
}

impl Options {
    pub(crate) fn change(&mut self, change: impl Fn(&mut Settings) + Send + Sync + 'static) {
        self.changes.push(Arc::new(change));
    }

    /// These, and for the rest those of the level around.
    pub(crate) fn under(&self, outer: &Options) -> Options {
        Options {
            changes: outer.changes.iter().chain(&self.changes).cloned().collect(),
            origins: self.origins.clone().or_else(|| outer.origins.clone()),
            refuse_before_accept: self.refuse_before_accept.or(outer.refuse_before_accept),
            subprotocols: self.subprotocols.clone().or_else(|| outer.subprotocols.clone()),
            cancel_on_disconnect: self.cancel_on_disconnect.or(outer.cancel_on_disconnect),
            retry: self.retry.or(outer.retry),
            watched_rooms_max: self.watched_rooms_max.or(outer.watched_rooms_max),
            hold_timeout: self.hold_timeout.or(outer.hold_timeout),
            leave_delay: self.leave_delay.or(outer.leave_delay),
            live: self.live.or(outer.live),
        }
    }

    /// The defaults with all changes.
    pub(crate) fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        self.changes.iter().for_each(|change| change(&mut settings));
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_level_wins_and_the_rest_is_inherited() {
        let mut app = Options::default();
        app.change(|settings| settings.message_bytes_max = Some(1));
        app.change(|settings| settings.fragments_max = Some(2));
        app.refuse_before_accept = Some(true);
        let mut route = Options::default();
        route.change(|settings| settings.message_bytes_max = None);
        let route = route.under(&app);
        let settings = route.settings();
        assert_eq!((settings.message_bytes_max, settings.fragments_max), (None, Some(2)));
        assert_eq!(route.refuse_before_accept, Some(true));
        assert_eq!(route.cancel_on_disconnect, None);
    }
}
