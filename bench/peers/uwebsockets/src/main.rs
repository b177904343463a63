//! uWebSockets through its C interface, after the project's own examples: answers are sent from
//! the message handler, broadcasts are topics.

mod c_interface;
mod routes;

use std::ffi::{CString, c_void};
use std::net::SocketAddrV4;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Parser;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::c_interface::{CInterface, ListenConfig, NO_TLS, UserData};

#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddrV4,
    /// The folder with libsocketify.so and libuv.so.1.
    #[arg(long)]
    libraries: PathBuf,
}

fn main() -> Result<()> {
    let options = Options::parse();
    raise_descriptor_limit()?;
    let uws: &'static CInterface = Box::leak(Box::new(CInterface::load(&options.libraries)?));
    let app = uws.create_app();
    ensure!(!app.is_null(), "uWebSockets cannot make an app");
    routes::add(uws, app);

    let host = CString::new(options.listen.ip().to_string())?;
    let config = ListenConfig { port: options.listen.port().into(), host: host.as_ptr(), options: 0 };
    // SAFETY: the app is alive, `host` outlives the call, which calls back before it returns.
    unsafe { (uws.listen)(NO_TLS, app, config, listening, std::ptr::null()) };
    // SAFETY: the app is alive, and all that its routes point to is never freed.
    unsafe { (uws.run)(NO_TLS, app) };
    Ok(())
}

/// Without a socket the port was taken. The loop has nothing to do then, and `run` returns.
unsafe extern "C" fn listening(socket: *mut c_void, config: ListenConfig, _: UserData) {
    if socket.is_null() {
        eprintln!("port {} cannot be listened on", config.port);
    }
}

/// The soft limit is 1,024 on most systems, whatever the hard one allows.
fn raise_descriptor_limit() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
