//! The same connections over TLS, Unix sockets and listeners from elsewhere; HTTP beside them.

mod answers;
mod files;
mod http;
mod segments;
mod shutdown;

use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;

use nexios::{App, Message, Route, Serve, Tls, WebSocket};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};

use crate::site::{Site, echo};
use crate::wire::{BINARY, FIN, PATIENCE, Seen, Wire, close, eventually, frame};

/// A certificate for localhost, signed by itself.
pub(crate) struct Certificate {
    certificate: CertificateDer<'static>,
    key: rcgen::KeyPair,
    pem: String,
}

pub(crate) fn certificate() -> Certificate {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    Certificate { certificate: made.cert.der().clone(), pem: made.cert.pem(), key: made.signing_key }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

impl Certificate {
    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_no_client_auth().with_single_cert(vec![self.certificate.clone()], key).unwrap())
    }

    /// A client that trusts it and nobody else.
    fn connect(&self, address: std::net::SocketAddr, alpn: &[&str]) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let session = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        StreamOwned::new(session, socket)
    }
}

/// A directory of its own that goes with the test.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nexios-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    pub(crate) fn file(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, contents).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn tls_echoes_and_speaks_http_1_1_by_alpn() {
    let (certificate, directory) = (certificate(), Directory::new("tls"));
    let tls = Tls::files(
        directory.file("cert.pem", &certificate.pem),
        directory.file("key.pem", &certificate.key.serialize_pem()),
    );
    let running = App::new().ws("/", echo).start(Serve::tcp("127.0.0.1:0").shards(1).tls(tls)).unwrap();
    let mut wire = Wire::new(certificate.connect(running.addresses()[0], &["h2", "http/1.1"])).shake_hands("/");
    assert_eq!(wire.stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    wire.assert_echo("over TLS");
    // More than rustls holds, both ways at once.
    let large: Vec<u8> = (0..1 << 20).map(|n: u32| (n / 7) as u8).collect();
    wire.say(frame(FIN | BINARY, &large));
    assert_eq!(wire.next(), Seen::Binary(large));
    wire.say(close(1000, ""));
    assert_eq!(wire.rest(), [Seen::Close(1000, String::new()), Seen::Fin]);
}

#[test]
fn a_client_that_speaks_no_tls_is_cut_and_harms_nobody() {
    let certificate = certificate();
    let tls = Tls::config(certificate.server_config());
    let running = App::new().ws("/", echo).start(Serve::tcp("127.0.0.1:0").shards(1).tls(tls)).unwrap();
    let mut other = Wire::new(certificate.connect(running.addresses()[0], &[])).shake_hands("/");
    let mut plain = Wire::dial(running.addresses()[0]);
    plain.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = plain.rest_bytes();
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    other.assert_echo("unharmed");
    eventually("the place is free", || running.metrics().connections == 1);
}

#[test]
fn an_origin_is_of_the_same_scheme_where_tls_ends_here() {
    let certificate = certificate();
    let tls = Tls::config(certificate.server_config());
    let running = App::new().ws("/", echo).start(Serve::tcp("127.0.0.1:0").tls(tls)).unwrap();
    for (origin, status) in [("https://localhost", 101), ("http://localhost", 403)] {
        let mut wire = Wire::new(certificate.connect(running.addresses()[0], &[]));
        wire.say(crate::wire::upgrade("/", &format!("Origin: {origin}\r\n")));
        assert_eq!(wire.answer().status, status, "{origin}");
    }
}

async fn names_its_client(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    loop {
        ws.receive().await?;
        ws.send_text(ws.client().map_or("nobody".into(), |client| client.host.to_string())).await?;
    }
}

fn over_unix(stream: UnixStream) -> Wire<UnixStream> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Wire::new(stream)
}

fn client_seen<S: std::io::Read + std::io::Write>(wire: &mut Wire<S>) -> Seen {
    wire.text("who am I?");
    wire.next()
}

#[test]
fn a_unix_socket_echoes_and_has_no_client_address() {
    let directory = Directory::new("unix");
    let path = directory.0.join("socket");
    // A file that a server left behind is in nobody's way.
    drop(UnixListener::bind(&path).unwrap());
    let app = App::new().ws("/", names_its_client).ws("/echo", echo);
    let running = app.start(Serve::unix(&path).and_tcp("127.0.0.1:0")).unwrap();
    let mut unix = over_unix(UnixStream::connect(&path).unwrap()).shake_hands("/");
    assert_eq!(client_seen(&mut unix), Seen::Text("nobody".into()));
    let mut tcp = Wire::dial(running.addresses()[0]).shake_hands("/");
    assert_eq!(client_seen(&mut tcp), Seen::Text("127.0.0.1".into()));
    over_unix(UnixStream::connect(&path).unwrap()).shake_hands("/echo").assert_echo("over a file");
    assert_eq!(running.addresses().len(), 1);
}

#[test]
fn behind_a_trusted_unix_socket_the_client_is_the_forwarded_one() {
    let directory = Directory::new("proxy");
    let path = directory.0.join("socket");
    let app = App::new().trusted_proxies(["unix"]).ws("/", names_its_client);
    let _running = app.start(Serve::unix(&path)).unwrap();
    let mut wire =
        over_unix(UnixStream::connect(&path).unwrap()).shake_hands_with("/", "X-Forwarded-For: 6.6.6.6, 192.0.2.7\r\n");
    assert_eq!(client_seen(&mut wire), Seen::Text("192.0.2.7".into()));
}

#[test]
fn a_listener_that_is_open_already_is_taken_over_with_who_waits_on_it() {
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = open.local_addr().unwrap();
    let mut early = Wire::dial(address);
    early.say(crate::wire::upgrade("/", ""));
    let running = App::new().ws("/", echo).start(Serve::socket(open)).unwrap();
    assert_eq!(running.addresses(), [address]);
    assert_eq!(early.answer().status, 101);
    early.assert_echo("was early");
}

#[test]
fn another_client_library_gets_its_echo() {
    let site = Site::start(App::new().route(Route::new("/", async |ws: WebSocket| {
        ws.accept().await?;
        ws.enable_compression();
        loop {
            let message: Message = ws.receive().await?;
            ws.send(message).await?;
        }
        #[allow(unreachable_code, reason = "gives the closure its type")]
        nexios::Result::Ok(())
    })));
    let (mut client, response) = tungstenite::connect(format!("ws://{}/", site.address())).unwrap();
    assert_eq!(response.status(), 101);
    for message in [tungstenite::Message::text("Grüße"), tungstenite::Message::binary(vec![7; 100_000])] {
        client.send(message.clone()).unwrap();
        assert_eq!(client.read().unwrap(), message);
    }
    client.close(None).unwrap();
    assert!(matches!(client.read(), Ok(tungstenite::Message::Close(_))));
    assert!(matches!(client.read(), Err(tungstenite::Error::ConnectionClosed)));
}

#[test]
fn who_starts_it_is_told_where_it_listens() {
    let (tell, told) = std::sync::mpsc::channel();
    let serve = Serve::tcp("127.0.0.1:0").on_listen(move |addresses| tell.send(addresses.to_vec()).unwrap());
    let running = App::new().start(serve).unwrap();
    assert_eq!(told.try_recv().unwrap(), running.addresses());
}

#[test]
fn a_start_error_says_in_words_what_was_wrong() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = App::new().start(address.as_str()).unwrap_err();
    // `main` prints `Debug`.
    assert!(format!("{error:?}").starts_with(&format!("cannot listen on {address}: ")), "{error:?}");
    let error = App::new().start("localhost").unwrap_err();
    assert_eq!(format!("{error:?}"), "\"localhost\" is no address to listen on: write host:port, as in 127.0.0.1:8000");
}
