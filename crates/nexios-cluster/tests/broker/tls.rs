//! Brokers over TLS: trusted is what the system trusts, or `SSL_CERT_FILE` names, or `tls_ca`; some want a certificate.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use nexios::App;
use nexios::broker::Broker;

use crate::node::{Node, send};
use crate::servers::{Directory, Process, Server, TcpServer, command, free_port};

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
        Certificate::named(directory, "server")
    }

    fn named(directory: &Directory, name: &str) -> Self {
        let mut params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        // A server that trusts several tells them apart by their names.
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let signing_key = rcgen::KeyPair::generate().unwrap();
        let made = params.self_signed(&signing_key).unwrap();
        let (chain, key) = (directory.0.join(format!("{name} chain.pem")), directory.0.join(format!("{name} key.pem")));
        std::fs::write(&chain, made.pem()).unwrap();
        std::fs::write(&key, signing_key.serialize_pem()).unwrap();
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
    exchange_by(|| Broker::new(url));
}

fn exchange_by(broker: impl Fn() -> Broker) {
    let (here, there) = (Node::start(broker()), Node::start(broker()));
    let client = there.client("x", "ann");
    send(here.room("x").broadcast("hello"));
    client.expect(["hello"]);
}

/// Redis that takes only clients with a certificate.
fn redis_for(server: Certificate, client: Certificate) -> TcpServer {
    TcpServer::start("rediss", "redis-server", move |command, port, directory| {
        command.args(["--bind", "127.0.0.1", "--save", "", "--port", "0", "--dir", directory]);
        command.args(["--tls-port", port, "--tls-auth-clients", "yes"]);
        command.arg("--tls-cert-file").arg(&server.chain).arg("--tls-key-file").arg(&server.key);
        command.arg("--tls-ca-cert-file").arg(&client.chain);
    })
}

/// NATS that does.
fn nats_for(server: Certificate, client: Certificate) -> TcpServer {
    TcpServer::start("tls", "nats-server", move |command, port, _| {
        command.args(["--addr", "127.0.0.1", "--port", port, "--tlsverify"]);
        command.arg("--tlscert").arg(&server.chain).arg("--tlskey").arg(&server.key);
        command.arg("--tlscacert").arg(&client.chain);
    })
}

#[test]
fn an_own_ca_and_a_certificate_are_named_by_parameters_or_settings() {
    for start in [redis_for, nats_for] {
        let directory = Directory::new();
        let (server, client) = (Certificate::named(&directory, "server"), Certificate::named(&directory, "client"));
        let broker = start(server.clone(), client.clone());
        let written = |path: &PathBuf| path.display().to_string().replace(' ', "%20");
        let ca = format!("{}?tls_ca={}", broker.url(), written(&server.chain));
        let url = format!("{ca}&tls_cert={}&tls_key={}", written(&client.chain), written(&client.key));
        exchange(&url);
        exchange_by(|| Broker::new(broker.url()).tls_ca(&server.chain).tls_cert(&client.chain).tls_key(&client.key));
        let quick = |broker: Broker| broker.connect_timeout(std::time::Duration::from_secs(1));
        let error = |broker: Broker| App::new().broker(quick(broker)).start("127.0.0.1:0").unwrap_err().to_string();
        for (without, says) in [
            (Broker::new(&ca), "cannot reach the broker"),
            (Broker::new(&url).tls_ca("/nowhere"), ""),
            (Broker::new(format!("{}?tls_ca={}", broker.url(), written(&client.chain))), "certificate"),
            (Broker::new(format!("{}?tls_ca=/nowhere", broker.url())), "cannot read tls_ca /nowhere: "),
            (Broker::new(broker.url()).tls_cert(&client.chain), "tls_cert needs tls_key"),
        ] {
            match says {
                // The parameter goes before the setting.
                "" => exchange_by(|| quick(without.clone())),
                says => {
                    let error = error(without);
                    assert!(error.contains(says), "{error} says {says:?}");
                }
            }
        }
    }
}

#[test]
fn sentinels_and_their_master_are_reached_over_tls() {
    let directory = Directory::new();
    let (server, client) = (Certificate::named(&directory, "server"), Certificate::named(&directory, "client"));
    let master = redis_for(server.clone(), client.clone());
    let (port, file) = (free_port(), directory.0.join("sentinel.conf"));
    let tls = |name: &str, path: &PathBuf| format!("{name} \"{}\"\n", path.display());
    // To its master it is a client like any other.
    let trusted = directory.0.join("all.pem");
    let both = [&server.chain, &client.chain].map(|path| std::fs::read_to_string(path).unwrap()).concat();
    std::fs::write(&trusted, both).unwrap();
    let settings = [
        format!("bind 127.0.0.1\nport 0\ntls-port {port}\ntls-replication yes\ntls-auth-clients yes\n"),
        tls("tls-cert-file", &server.chain) + &tls("tls-key-file", &server.key) + &tls("tls-ca-cert-file", &trusted),
        tls("tls-client-cert-file", &client.chain) + &tls("tls-client-key-file", &client.key),
        format!("sentinel monitor chat 127.0.0.1 {} 1\nsentinel down-after-milliseconds chat 600000\n", master.port),
    ];
    std::fs::write(&file, settings.concat()).unwrap();
    let start = move || {
        let mut command = command("redis-server");
        command.arg(&file).arg("--sentinel");
        command
    };
    let _sentinel = Process::start(start, move || TcpStream::connect(("127.0.0.1", port)).is_ok());
    exchange_by(|| {
        let broker = Broker::new(format!("valkeys+sentinel://127.0.0.1:{port}/chat"));
        broker.tls_ca(&server.chain).tls_cert(&client.chain).tls_key(&client.key)
    });
}
