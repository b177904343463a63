//! Opening connections, one after another: the TCP connect, the handshake, the first answer.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::io::{Errno, read, write};
use rustix::net::sockopt::{Timeout, set_socket_linger, set_socket_timeout, set_tcp_nodelay};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use crate::connection::Connection;
use crate::handshake;
use crate::target::Target;

/// One source address has 28,000 ports by default; a fresh address is taken well before.
const CONNECTIONS_PER_SOURCE: usize = 4000;

/// A server that is silent for longer is broken.
const ANSWER_SECONDS_MAX: u64 = 20;

/// Opens `count` connections, one after another.
pub(crate) fn open_many(target: &Target, path: &str, count: usize, deflate: bool) -> Result<Vec<Connection>> {
    (0..count).map(|index| open(target, path, index, deflate)).collect()
}

/// Opens the `index`th connection of a run and completes its handshake.
pub(crate) fn open(target: &Target, path: &str, index: usize, deflate: bool) -> Result<Connection> {
    let (socket, early) = shake_hands(target, path, index, deflate)?;
    let mut connection = Connection::new(socket)?;
    connection.count(&early)?;
    Ok(connection)
}

/// An open, blocking socket, and the bytes that came behind the response.
pub(crate) fn open_blocking(target: &Target, path: &str, deflate: bool) -> Result<(OwnedFd, Vec<u8>)> {
    shake_hands(target, path, 0, deflate)
}

/// The same for the `index`th connection of a run.
pub(crate) fn shake_hands(target: &Target, path: &str, index: usize, deflate: bool) -> Result<(OwnedFd, Vec<u8>)> {
    let socket = connect_from(source(index), target.address)?;
    write_all(&socket, &handshake::request(path, target.address, deflate))?;
    let mut received = Vec::new();
    loop {
        read_more(&socket, &mut received)?;
        let end = handshake::head_end(&received, deflate);
        if let Some(end) = end.with_context(|| format!("handshake of connection {index} on {path}"))? {
            return Ok((socket, received.split_off(end)));
        }
    }
}

/// Addresses of the loopback network, from 127.0.0.2 on.
pub(crate) fn source(index: usize) -> Ipv4Addr {
    let host = 2 + (index / CONNECTIONS_PER_SOURCE) as u32;
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 0, 0)) + host)
}

/// A connected, blocking socket.
pub(crate) fn connect_from(source: Ipv4Addr, server: SocketAddrV4) -> Result<OwnedFd> {
    let socket = socket_from(source, server, SocketFlags::empty())?;
    set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_secs(ANSWER_SECONDS_MAX)))?;
    connect(&socket, &server).with_context(|| format!("connect to {server}"))?;
    Ok(socket)
}

/// A socket that is not connected yet. It is reset when dropped, so that no run leaves
/// thousands of ports in TIME_WAIT to the next.
pub(crate) fn socket_from(source: Ipv4Addr, server: SocketAddrV4, flags: SocketFlags) -> Result<OwnedFd> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC | flags, None)?;
    set_socket_linger(&socket, Some(Duration::ZERO))?;
    set_tcp_nodelay(&socket, true)?;
    if server.ip().is_loopback() {
        bind(&socket, &SocketAddrV4::new(source, 0)).with_context(|| format!("no free port on {source}"))?;
    }
    Ok(socket)
}

/// Reads from a blocking socket.
pub(crate) fn read_more(socket: &OwnedFd, received: &mut Vec<u8>) -> Result<()> {
    let mut chunk = [0; 4096];
    match read(socket, &mut chunk) {
        Ok(0) => bail!("the server closed the connection"),
        Ok(length) => received.extend_from_slice(&chunk[..length]),
        Err(Errno::AGAIN) => bail!("no answer within {ANSWER_SECONDS_MAX} s"),
        Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Writes to a blocking socket.
pub(crate) fn write_all(socket: &OwnedFd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        let written = write(socket, bytes)?;
        bytes = &bytes[written..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_source_address_is_taken_before_the_ports_run_out() {
        assert_eq!(source(0), Ipv4Addr::new(127, 0, 0, 2));
        assert_eq!(source(3999), Ipv4Addr::new(127, 0, 0, 2));
        assert_eq!(source(14_999), Ipv4Addr::new(127, 0, 0, 5));
        assert_eq!(source(1_100_000), Ipv4Addr::new(127, 0, 1, 21));
    }
}
