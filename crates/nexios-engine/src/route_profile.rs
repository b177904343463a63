//! What the connections of one route share.

use std::any::Any;

use crate::group::Group;
use crate::settings::Settings;

/// What holds for the connections of one route, and what its front end knows of the route.
///
/// ```
/// use nexios_engine::{Profile, Settings};
/// let profile = Profile::new(Settings::default(), None, "the front end's own route");
/// assert_eq!(profile.front(), Some(&"the front end's own route"));
/// ```
pub struct Profile {
    pub(crate) settings: Settings,
    pub(crate) group: Option<Group>,
    front: Box<dyn Any + Send + Sync>,
}

impl Profile {
    /// A route's settings, the group that its connections join when they are accepted (its
    /// router), and the front end's own part.
    pub fn new(settings: Settings, group: Option<Group>, front: impl Any + Send + Sync) -> Self {
        Profile { settings, group, front: Box::new(front) }
    }

    /// The front end's own part, where it is a `T`.
    pub fn front<T: Any>(&self) -> Option<&T> {
        self.front.downcast_ref()
    }
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profile").field("settings", &self.settings).field("group", &self.group).finish_non_exhaustive()
    }
}
