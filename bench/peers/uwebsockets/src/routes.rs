//! What each route does with a message.

use std::ffi::{CStr, c_char, c_int};

use crate::c_interface::{
    App, Behavior, CInterface, DISABLED, NO_TLS, OpCode, SHARED_COMPRESSOR, SHARED_DECOMPRESSOR, Socket, UserData,
};

/// The limits of nexios: room for messages of 1 MiB, and for as much that waits for a slow client.
const PAYLOAD_BYTES_MAX: u32 = 1024 * 1024;
const BACKPRESSURE_BYTES_MAX: u32 = 1024 * 1024;

/// The library's own default, with pings before it runs out.
const IDLE_TIMEOUT_SECONDS: u16 = 120;

/// What the handlers of a route know; it lives as long as the process.
struct Route {
    uws: &'static CInterface,
    app: *mut App,
    /// What its clients hear, or what its messages go to.
    topic: &'static CStr,
    compress: bool,
}

/// Adds all of them.
pub(crate) fn add(uws: &'static CInterface, app: *mut App) {
    let route = |pattern, topic, compress, handlers| {
        let route = Box::leak(Box::new(Route { uws, app, topic, compress }));
        let behavior = behavior(compress, handlers);
        // SAFETY: the app is alive, the pattern is copied, and the route is never freed.
        unsafe { (uws.route)(NO_TLS, app, CStr::as_ptr(pattern), behavior, std::ptr::from_ref(route).cast()) };
    };
    route(c"/echo", c"", false, Handlers { open: None, message: Some(echo) });
    route(c"/deflate", c"", true, Handlers { open: None, message: Some(echo) });
    route(c"/bcast", c"everybody", false, Handlers { open: Some(subscribe), message: Some(publish) });
    route(c"/bcast-deflate", c"everybody deflated", true, Handlers { open: Some(subscribe), message: Some(publish) });
    route(c"/pub", c"subscribers", false, Handlers { open: None, message: Some(publish) });
    route(c"/sub", c"subscribers", false, Handlers { open: Some(subscribe), message: None });
}

struct Handlers {
    open: Option<unsafe extern "C" fn(*mut Socket, UserData)>,
    message: Option<unsafe extern "C" fn(*mut Socket, *const c_char, usize, OpCode, UserData)>,
}

/// The library's defaults, but for the limits.
fn behavior(compress: bool, handlers: Handlers) -> Behavior {
    Behavior {
        compression: if compress { SHARED_COMPRESSOR | SHARED_DECOMPRESSOR } else { DISABLED },
        max_payload_length: PAYLOAD_BYTES_MAX,
        idle_timeout: IDLE_TIMEOUT_SECONDS,
        max_backpressure: BACKPRESSURE_BYTES_MAX,
        close_on_backpressure_limit: false,
        reset_idle_timeout_on_send: false,
        send_pings_automatically: true,
        max_lifetime: 0,
        upgrade: None,
        open: handlers.open,
        message: handlers.message,
        drain: None,
        ping: None,
        pong: None,
        close: None,
        subscription: None,
    }
}

/// Back to the sender. The library gathers what is sent while it reads, for one write.
unsafe extern "C" fn echo(socket: *mut Socket, message: *const c_char, length: usize, code: OpCode, route: UserData) {
    // SAFETY: `route` is what was given to `uws_ws`; the socket and the message live during the call.
    unsafe {
        let route = &*route.cast::<Route>();
        let _: c_int = (route.uws.send)(NO_TLS, socket, message, length, code, route.compress, true);
    }
}

/// To everybody who subscribed, the sender too if it did.
unsafe extern "C" fn publish(_: *mut Socket, message: *const c_char, length: usize, code: OpCode, route: UserData) {
    // SAFETY: as in `echo`; the app lives as long as its sockets, and copies the message.
    unsafe {
        let Route { uws, app, topic, compress } = &*route.cast::<Route>();
        (uws.publish)(NO_TLS, *app, topic.as_ptr(), topic.count_bytes(), message, length, code, *compress);
    }
}

unsafe extern "C" fn subscribe(socket: *mut Socket, route: UserData) {
    // SAFETY: as in `echo`; the topic is copied.
    unsafe {
        let Route { uws, topic, .. } = &*route.cast::<Route>();
        (uws.subscribe)(NO_TLS, socket, topic.as_ptr(), topic.count_bytes());
    }
}
