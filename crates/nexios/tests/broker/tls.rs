//! Brokers over TLS: trusted is what the system trusts, or `SSL_CERT_FILE` names.

use std::path::PathBuf;
use std::process::Command;

use nexios::App;
use nexios::broker::Broker;

use crate::node::{Node, send};
use crate::servers::{Directory, Server, TcpServer};

/// Set for the process that trusts the certificate: the environment is a process's own.
const BROKER: &str = "NEXIOS_TEST_BROKER";

/// A certificate for this machine that nobody else has signed.
#[derive(Clone)]
struct Certificate {
    chain: PathBuf,
    key: PathBuf,
}

impl Certificate {
    fn new(directory: &Directory) -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let (chain, key) = (directory.0.join("chain.pem"), directory.0.join("key.pem"));
        std::fs::write(&chain, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        Certificate { chain, key }
    }
}

#[test]
fn nodes_speak_to_redis_over_tls() {
    over_tls("tls::nodes_speak_to_redis_over_tls", |Certificate { chain, key }| {
        TcpServer::start("rediss", "redis-server", move |command, port, directory| {
            command.args(["--bind", "127.0.0.1", "--save", "", "--port", "0", "--dir", directory]);
            command.args(["--tls-port", port, "--tls-auth-clients", "no"]);
            command.arg("--tls-cert-file").arg(&chain).arg("--tls-ca-cert-file").arg(&chain);
            command.arg("--tls-key-file").arg(&key);
        })
    });
}

#[test]
fn nodes_speak_to_nats_over_tls() {
    over_tls("tls::nodes_speak_to_nats_over_tls", |Certificate { chain, key }| {
        TcpServer::start("tls", "nats-server", move |command, port, _| {
            command.args(["--addr", "127.0.0.1", "--port", port, "--tls"]);
            command.arg("--tlscert").arg(&chain).arg("--tlskey").arg(&key);
        })
    });
}

/// Runs itself once more, trusting the certificate.
fn over_tls(test: &str, start: impl FnOnce(Certificate) -> TcpServer) {
    if let Ok(url) = std::env::var(BROKER) {
        return exchange(&url);
    }
    let directory = Directory::new();
    let certificate = Certificate::new(&directory);
    let server = start(certificate.clone());
    let error = App::new().broker(server.url()).start("127.0.0.1:0").unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot reach the broker {}: ", server.url())), "{error}");
    assert!(error.contains("certificate"), "{error}");
    let mut trusting = Command::new(std::env::current_exe().unwrap());
    trusting.args(["--exact", test]).env(BROKER, server.url()).env("SSL_CERT_FILE", &certificate.chain);
    let output = trusting.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

fn exchange(url: &str) {
    let (here, there) = (Node::start(Broker::new(url)), Node::start(Broker::new(url)));
    let client = there.client("x", "ann");
    send(here.room("x").broadcast("hello"));
    client.expect(["hello"]);
}
