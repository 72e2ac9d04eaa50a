//! TLS to the database: whose certificates are believed, who we are, and the files with both.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::files::{UnusableFile, read};

/// The protocol, as ALPN names it.
const POSTGRESQL: &[u8] = b"postgresql";

pub(crate) const CA_FILE: &str = "tls.ca_file";
const CERTIFICATE_FILE: &str = "tls.certificate_file";
const KEY_FILE: &str = "tls.key_file";

/// Whether connections are encrypted, and what the server has to prove then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Anyone in between can read and change what is sent.
    Off,
    /// Its certificate leads to one of the roots, whatever name it is for.
    VerifyCa,
    /// Its certificate leads to one of the roots, and is for the host of the URL.
    VerifyFull,
}

/// Files for encrypted connections. They are read again for each connection.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TlsFiles {
    /// PEM with the roots that the certificate of the server must lead to, and no others; none: those of the system.
    pub ca_file: Option<PathBuf>,
    /// PEM with our certificate, followed by those between it and its root.
    pub certificate_file: Option<PathBuf>,
    /// PEM with its private key.
    pub key_file: Option<PathBuf>,
}

/// What makes encrypted connections, by what is in the files at this moment.
pub(crate) fn connector(encryption: Encryption, files: &TlsFiles) -> Result<MakeRustlsConnect, UnusableFile> {
    let TlsFiles { ca_file, certificate_file, key_file } = files;
    let roots = match ca_file {
        Some(path) => Arc::new(own_roots(path)?),
        None if encryption == Encryption::VerifyCa => {
            let why =
                "with sslmode=verify-ca every certificate of these roots is believed; expected a file with your own";
            return Err(UnusableFile { key: CA_FILE, message: why.to_owned() });
        }
        None => system_roots()?,
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| UnusableFile { key: "tls", message: error.to_string() })?;
    let builder = match encryption {
        Encryption::VerifyCa => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName { roots, algorithms }))
        }
        Encryption::Off | Encryption::VerifyFull => builder.with_root_certificates(roots),
    };
    let mut config = match (certificate_file, key_file) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(CERTIFICATE_FILE, certificate)?;
            let private = PrivateKeyDer::from_pem_slice(&read(KEY_FILE, key)?)
                .map_err(|error| UnusableFile::of(KEY_FILE, key, pem("private key", &error)))?;
            // A key that is not the certificate's shows here.
            builder.with_client_auth_cert(chain, private).map_err(|error| UnusableFile::of(KEY_FILE, key, error))?
        }
        (Some(_), None) => return Err(missing(KEY_FILE, "expected the private key of the certificate_file")),
        (None, Some(_)) => return Err(missing(CERTIFICATE_FILE, "expected the certificate of the key_file")),
        (None, None) => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![POSTGRESQL.to_vec()];
    Ok(MakeRustlsConnect::new(config))
}

fn missing(key: &'static str, message: &str) -> UnusableFile {
    UnusableFile { key, message: message.to_owned() }
}

fn own_roots(path: &Path) -> Result<RootCertStore, UnusableFile> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(CA_FILE, path)? {
        roots.add(certificate).map_err(|error| UnusableFile::of(CA_FILE, path, error))?;
    }
    Ok(roots)
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, UnusableFile> {
    let bytes = read(key, path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let all = all.map_err(|error| UnusableFile::of(key, path, pem("certificate", &error)))?;
    if all.is_empty() { Err(UnusableFile::of(key, path, "holds no certificate in PEM")) } else { Ok(all) }
}

fn pem(what: &str, error: &rustls::pki_types::pem::Error) -> String {
    match error {
        rustls::pki_types::pem::Error::NoItemsFound => format!("holds no {what} in PEM"),
        error => format!("is no PEM: {error}"),
    }
}

/// The roots of the system, which stay those of the first connection.
fn system_roots() -> Result<Arc<RootCertStore>, UnusableFile> {
    static ROOTS: OnceLock<Result<Arc<RootCertStore>, String>> = OnceLock::new();
    let found = ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // Bundles hold some that are too old to be read.
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            Err("the system has no roots; expected a file, or SSL_CERT_FILE in the environment".to_owned())
        } else {
            Ok(Arc::new(roots))
        }
    });
    found.clone().map_err(|message| UnusableFile { key: CA_FILE, message })
}

/// Believes what leads to the roots, whatever name it is for.
#[derive(Debug)]
struct AnyName {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
