//! Kinds of connections whose messages have a form of their own.

/// A kind of connections, chosen by the service when it accepts one. The engine does not know what a variant means: for
/// connections of another one than the plain it asks the service for the form of a message
/// ([`Service::form`](crate::Service::form)) and for the last message before a Close frame
/// ([`Service::farewell`](crate::Service::farewell)).
///
/// ```
/// use nexios_engine::Variant;
/// assert!(Variant::default().is_plain() && !Variant::new(1).is_plain());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Variant(u8);

impl Variant {
    /// Returns the variant with a number of the service's own; 0 is the plain one.
    pub const fn new(number: u8) -> Self {
        Variant(number)
    }

    /// Returns true if messages go out as the application sends them.
    pub const fn is_plain(self) -> bool {
        self.0 == 0
    }
}
