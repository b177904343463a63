//! The same connections over TLS, only as far as opening them and one exchange need it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, IpAddr, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use crate::frame::MessageCounter;
use crate::handshake;
use crate::opening;
use crate::target::Target;

/// An open, blocking WebSocket over TLS.
pub(crate) struct TlsSocket(StreamOwned<ClientConnection, TcpStream>);

/// What all connections have in common.
pub(crate) struct Client {
    config: Arc<ClientConfig>,
}

impl Client {
    pub(crate) fn new() -> Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth();
        Ok(Self { config: Arc::new(config) })
    }

    pub(crate) fn open_many(&self, target: &Target, path: &str, count: usize) -> Result<Vec<TlsSocket>> {
        (0..count).map(|index| self.open(target, path, index)).collect()
    }

    fn open(&self, target: &Target, path: &str, index: usize) -> Result<TlsSocket> {
        let socket = opening::connect_from(opening::source(index), target.address)?;
        let name = ServerName::IpAddress(IpAddr::from(std::net::IpAddr::from(*target.address.ip())));
        let session = ClientConnection::new(self.config.clone(), name)?;
        let mut stream = StreamOwned::new(session, TcpStream::from(socket));
        stream.write_all(&handshake::request(path, target.address, false)).context("TLS handshake")?;
        let mut head = Vec::new();
        while handshake::head_end(&head, false)?.is_none() {
            read_more(&mut stream, &mut head)?;
        }
        Ok(TlsSocket(stream))
    }
}

/// One message there and back on each connection.
pub(crate) fn exchange(frame: &[u8], sockets: &mut [TlsSocket]) -> Result<()> {
    for TlsSocket(stream) in sockets.iter_mut() {
        stream.write_all(frame)?;
    }
    for TlsSocket(stream) in sockets.iter_mut() {
        let (mut counter, mut received) = (MessageCounter::default(), Vec::new());
        while counter.count(&std::mem::take(&mut received))? == 0 {
            read_more(stream, &mut received)?;
        }
    }
    Ok(())
}

fn read_more(stream: &mut impl Read, received: &mut Vec<u8>) -> Result<()> {
    let mut chunk = [0; 4096];
    let length = stream.read(&mut chunk).context("an answer over TLS")?;
    anyhow::ensure!(length > 0, "the server closed the connection");
    received.extend_from_slice(&chunk[..length]);
    Ok(())
}

/// Servers under test sign their own certificates.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
