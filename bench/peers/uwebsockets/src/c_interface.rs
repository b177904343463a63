//! The part of the C interface that a server needs, as `native.py` of socketify 0.0.31 declares it.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::path::Path;
use std::ptr;

use anyhow::{Context, Result};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

/// Plain TCP: the first argument of every function says whether it is TLS.
pub(crate) const NO_TLS: c_int = 0;

pub(crate) type UserData = *const c_void;
type OnSocket = unsafe extern "C" fn(*mut Socket, UserData);
type OnMessage = unsafe extern "C" fn(*mut Socket, *const c_char, usize, OpCode, UserData);
type OnPingPong = unsafe extern "C" fn(*mut Socket, *const c_char, usize, UserData);
type OnClose = unsafe extern "C" fn(*mut Socket, c_int, *const c_char, usize, UserData);
type OnListening = unsafe extern "C" fn(*mut c_void, ListenConfig, UserData);

/// A `uws_app_t`.
#[repr(C)]
pub(crate) struct App {
    _opaque: [u8; 0],
}

/// A `uws_websocket_t`.
#[repr(C)]
pub(crate) struct Socket {
    _opaque: [u8; 0],
}

/// Text is 1, binary is 2.
pub(crate) type OpCode = c_int;

/// `uws_compress_options_t`: no compression, or one compressor and one decompressor for all.
pub(crate) const DISABLED: c_int = 0;
pub(crate) const SHARED_COMPRESSOR: c_int = 1;
pub(crate) const SHARED_DECOMPRESSOR: c_int = 1 << 8;

/// `struct us_socket_context_options_t`: files for TLS.
#[repr(C)]
struct TlsOptions {
    files: [*const c_char; 6],
    prefer_low_memory_usage: c_int,
}

/// `uws_app_listen_config_t`
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct ListenConfig {
    pub(crate) port: c_int,
    pub(crate) host: *const c_char,
    pub(crate) options: c_int,
}

/// `uws_socket_behavior_t`
#[repr(C)]
pub(crate) struct Behavior {
    pub(crate) compression: c_int,
    pub(crate) max_payload_length: c_uint,
    pub(crate) idle_timeout: u16,
    pub(crate) max_backpressure: c_uint,
    pub(crate) close_on_backpressure_limit: bool,
    pub(crate) reset_idle_timeout_on_send: bool,
    pub(crate) send_pings_automatically: bool,
    pub(crate) max_lifetime: u16,
    pub(crate) upgrade: Option<OnSocket>,
    pub(crate) open: Option<OnSocket>,
    pub(crate) message: Option<OnMessage>,
    pub(crate) drain: Option<OnSocket>,
    pub(crate) ping: Option<OnPingPong>,
    pub(crate) pong: Option<OnPingPong>,
    pub(crate) close: Option<OnClose>,
    pub(crate) subscription: Option<OnSocket>,
}

/// The functions, looked up once.
pub(crate) struct CInterface {
    create_app: unsafe extern "C" fn(c_int, TlsOptions) -> *mut App,
    pub(crate) route: unsafe extern "C" fn(c_int, *mut App, *const c_char, Behavior, UserData),
    pub(crate) listen: unsafe extern "C" fn(c_int, *mut App, ListenConfig, OnListening, UserData),
    pub(crate) run: unsafe extern "C" fn(c_int, *mut App),
    pub(crate) send:
        unsafe extern "C" fn(c_int, *mut Socket, *const c_char, usize, OpCode, compress: bool, fin: bool) -> c_int,
    pub(crate) subscribe: unsafe extern "C" fn(c_int, *mut Socket, *const c_char, usize) -> bool,
    pub(crate) publish: unsafe extern "C" fn(
        c_int,
        *mut App,
        topic: *const c_char,
        usize,
        message: *const c_char,
        usize,
        OpCode,
        compress: bool,
    ) -> bool,
}

impl CInterface {
    /// Loads `libuv.so.1` and `libsocketify.so` from a folder, for as long as the process lives.
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        // libsocketify needs libuv by name only; the loader takes the one that is there already.
        let libuv = open(&folder.join("libuv.so.1"))?;
        let library = open(&folder.join("libsocketify.so"))?;
        let interface = Self {
            create_app: find(&library, c"uws_create_app")?,
            route: find(&library, c"uws_ws")?,
            listen: find(&library, c"uws_app_listen_with_config")?,
            run: find(&library, c"uws_app_run")?,
            send: find(&library, c"uws_ws_send_with_options")?,
            subscribe: find(&library, c"uws_ws_subscribe")?,
            publish: find(&library, c"uws_publish")?,
        };
        std::mem::forget((libuv, library));
        Ok(interface)
    }

    /// An app without TLS; null if it cannot be made.
    pub(crate) fn create_app(&self) -> *mut App {
        let options = TlsOptions { files: [ptr::null(); 6], prefer_low_memory_usage: 0 };
        // SAFETY: the structure is the one that the function takes, and none of it is read without TLS.
        unsafe { (self.create_app)(NO_TLS, options) }
    }
}

fn open(file: &Path) -> Result<Library> {
    // SAFETY: the initialisers of both libraries only set up their own statics.
    unsafe { Library::open(Some(file), RTLD_NOW | RTLD_GLOBAL) }
        .with_context(|| format!("{} cannot be loaded", file.display()))
}

fn find<F: Copy>(library: &Library, name: &CStr) -> Result<F> {
    // SAFETY: the fields of `CInterface` have the types that native.py declares for these names.
    let symbol = unsafe { library.get::<F>(name.to_bytes_with_nul()) };
    Ok(*symbol.with_context(|| format!("{} is missing", name.to_string_lossy()))?)
}
