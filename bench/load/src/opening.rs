//! Opening connections: the TCP connect, the handshake, the first answer.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::io::{Errno, read, write};
use rustix::net::sockopt::{Timeout, set_socket_linger, set_socket_timeout, set_tcp_nodelay};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use crate::connection::Connection;
use crate::frame;
use crate::target::Target;

/// One source address has 28,000 ports by default; a fresh address is taken well before.
const CONNECTIONS_PER_SOURCE: usize = 4000;

/// A server that is silent for longer is broken.
const ANSWER_SECONDS_MAX: u64 = 20;

const HEAD_BYTES_MAX: usize = 4096;

/// Opens the `index`th connection of a run and completes its handshake.
pub(crate) fn open(target: &Target, path: &str, index: usize) -> Result<Connection> {
    let socket = connect_from(source(index), target.address)?;
    send_request(&socket, path, target.address)?;
    let early = read_response(&socket).with_context(|| format!("handshake of connection {index} on {path}"))?;
    let mut connection = Connection::new(socket)?;
    connection.count(&early)?;
    Ok(connection)
}

/// Opens `count` connections, one after another.
pub(crate) fn open_many(target: &Target, path: &str, count: usize) -> Result<Vec<Connection>> {
    (0..count).map(|index| open(target, path, index)).collect()
}

/// Asks for one echo and compares it byte by byte; the load itself only counts lengths.
pub(crate) fn check_echo(target: &Target, path: &str, size: usize) -> Result<()> {
    let socket = connect_from(source(0), target.address)?;
    send_request(&socket, path, target.address)?;
    let mut received = read_response(&socket)?;
    let payload = frame::payload(size);
    write_all(&socket, &frame::masked(target.kind(), &payload))?;
    let header = match size {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    while received.len() < header + size {
        read_more(&socket, &mut received)?;
    }
    ensure!(received[header..] == payload, "the echo on {path} differs from what was sent");
    let opcode = if target.binary { 0x82 } else { 0x81 };
    ensure!(received[0] == opcode, "the echo on {path} is of another kind: {:#04x}", received[0]);
    Ok(())
}

/// Addresses of the loopback network, from 127.0.0.2 on.
pub(crate) fn source(index: usize) -> Ipv4Addr {
    let host = 2 + (index / CONNECTIONS_PER_SOURCE) as u32;
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 0, 0)) + host)
}

/// A connected, blocking socket. It is reset when dropped, so that no run leaves
/// thousands of ports in TIME_WAIT to the next.
pub(crate) fn connect_from(source: Ipv4Addr, server: SocketAddrV4) -> Result<OwnedFd> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_linger(&socket, Some(Duration::ZERO))?;
    set_tcp_nodelay(&socket, true)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_secs(ANSWER_SECONDS_MAX)))?;
    if server.ip().is_loopback() {
        bind(&socket, &SocketAddrV4::new(source, 0)).with_context(|| format!("no free port on {source}"))?;
    }
    connect(&socket, &server).with_context(|| format!("connect to {server}"))?;
    Ok(socket)
}

/// Sends the client's handshake (RFC 6455, section 4.1), with the sample key of section 1.3.
pub(crate) fn send_request(socket: &OwnedFd, path: &str, server: SocketAddrV4) -> Result<()> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    write_all(socket, request.as_bytes())
}

/// Reads the 101 and returns the bytes that came behind it.
fn read_response(socket: &OwnedFd) -> Result<Vec<u8>> {
    let mut received = Vec::new();
    loop {
        if let Some(end) = head_end(&received)? {
            return Ok(received.split_off(end));
        }
        read_more(socket, &mut received)?;
    }
}

/// Where the response's head ends, once it is whole; an error if it is not a 101
/// with the accept key that belongs to the sample key.
pub(crate) fn head_end(received: &[u8]) -> Result<Option<usize>> {
    let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        ensure!(received.len() < HEAD_BYTES_MAX, "the response's head does not end");
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&received[..end]);
    if !head.starts_with("HTTP/1.1 101 ") || !head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") {
        bail!("the server refused: {head}");
    }
    Ok(Some(end + 4))
}

fn read_more(socket: &OwnedFd, received: &mut Vec<u8>) -> Result<()> {
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

fn write_all(socket: &OwnedFd, mut bytes: &[u8]) -> Result<()> {
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

    #[test]
    fn anything_but_a_101_is_a_refusal() {
        assert!(head_end(b"HTTP/1.1 404 Not Found\r\n\r\n").is_err());
        assert_eq!(head_end(b"HTTP/1.1 101 Switching").unwrap(), None);
        let accepted =
            b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        assert_eq!(head_end(accepted).unwrap(), Some(accepted.len()));
    }
}
