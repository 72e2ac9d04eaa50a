//! Encrypted connections: what a server has to prove, what it may ask for, and files that change.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use engine::store::StoreError;
use postgres_store::testing::{Release, connect, database, own_server, server_with_tls};
use postgres_store::{Postgres, PostgresOptions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_postgres::Config;
use tokio_postgres::config::Host;
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

/// A root, and what it vouches for.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
struct Certified {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, Uuid::new_v4().to_string());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// For a server of this name, or a client whose user has it.
    fn certifies(&self, name: &str) -> Certified {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        Certified { certificate: params.signed_by(&key, &self.0).unwrap().pem(), key: key.serialize_pem() }
    }
}

fn chain(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().unwrap()
}

/// What stands before a server and encrypts for it, as a server built with TLS does itself.
struct Front {
    port: u16,
    database: Config,
}

impl Front {
    async fn of(certified: &Certified, clients: Option<&Authority>) -> Self {
        let database = database(Release::Newest).await;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.0.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::from_pem_slice(certified.key.as_bytes()).unwrap();
        let config = builder.with_single_cert(chain(&certified.certificate), key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let behind = database.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(encrypted(stream, acceptor.clone(), behind.clone()));
            }
        });
        Self { port, database }
    }

    /// The URL of the database behind it.
    fn url(&self, host: &str, mode: &str) -> String {
        let (user, name) = (self.database.get_user().unwrap(), self.database.get_dbname().unwrap());
        format!("postgres://{user}@{host}:{}/{name}?sslmode={mode}", self.port)
    }
}

async fn encrypted(mut stream: TcpStream, acceptor: TlsAcceptor, behind: Config) -> std::io::Result<()> {
    // A client asks whether there is TLS: eight bytes.
    let mut asked = [0; 8];
    stream.read_exact(&mut asked).await?;
    stream.write_all(b"S").await?;
    let mut stream = acceptor.accept(stream).await?;
    let port = behind.get_ports().first().copied().unwrap_or(5_432);
    match &behind.get_hosts()[0] {
        Host::Unix(folder) => {
            let mut server = UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await?;
            copy_bidirectional(&mut stream, &mut server).await?;
        }
        Host::Tcp(host) => {
            let mut server = TcpStream::connect((host.as_str(), port)).await?;
            copy_bidirectional(&mut stream, &mut server).await?;
        }
    }
    Ok(())
}

/// Files of one test.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with(&self, name: &str, content: &str) -> Option<PathBuf> {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        Some(path)
    }
}

async fn opens(options: &PostgresOptions) -> Result<(), String> {
    match Postgres::open(options.clone()).await {
        Ok(_) => Ok(()),
        Err(StoreError::Unavailable(why) | StoreError::Unusable(why)) => Err(why),
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn a_server_is_used_only_if_its_certificate_leads_to_a_known_root() {
    let (files, known) = (Files::new(), Authority::new());
    let front = Front::of(&known.certifies("localhost"), None).await;
    for mode in ["verify-full", "verify-ca", "require"] {
        let mut options = PostgresOptions::parse(&front.url("localhost", mode)).unwrap();
        options.tls.ca_file = files.with("ca.pem", &Authority::new().pem());
        let why = opens(&options).await.unwrap_err();
        assert!(why.contains("UnknownIssuer"), "{mode}: {why}");
        // The file is read again.
        files.with("ca.pem", &known.pem());
        assert_eq!(opens(&options).await, Ok(()), "{mode}");
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_unless_the_name_does_not_matter() {
    let (files, known) = (Files::new(), Authority::new());
    let front = Front::of(&known.certifies("db.elsewhere"), None).await;
    let with_mode = |mode: &str| {
        let mut options = PostgresOptions::parse(&front.url("localhost", mode)).unwrap();
        options.tls.ca_file = files.with("ca.pem", &known.pem());
        options
    };
    for mode in ["verify-full", "require"] {
        let why = opens(&with_mode(mode)).await.unwrap_err();
        assert!(why.contains("not valid for name"), "{mode}: {why}");
    }
    assert_eq!(opens(&with_mode("verify-ca")).await, Ok(()));
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_the_one_of_the_files() {
    let (files, known) = (Files::new(), Authority::new());
    let front = Front::of(&known.certifies("localhost"), Some(&known)).await;
    let mut options = PostgresOptions::parse(&front.url("localhost", "verify-full")).unwrap();
    options.tls.ca_file = files.with("ca.pem", &known.pem());
    opens(&options).await.unwrap_err();

    let Certified { certificate, key } = known.certifies("postgres");
    options.tls.certificate_file = files.with("client.pem", &certificate);
    let why = opens(&options).await.unwrap_err();
    assert_eq!(why, "tls.key_file: expected the private key of the certificate_file");
    options.tls.key_file = files.with("client.key", &known.certifies("postgres").key);
    let why = opens(&options).await.unwrap_err();
    assert!(why.contains("tls.key_file: ") && why.contains("client.key"), "{why}");
    files.with("client.key", &key);
    assert_eq!(opens(&options).await, Ok(()));
}

#[tokio::test]
async fn a_server_without_encryption_is_refused_where_it_is_asked_for() {
    let (files, server) = (Files::new(), own_server(Release::Newest, &[], &["listen_addresses=127.0.0.1".to_owned()]));
    let url = format!("postgres://postgres@localhost:{}/postgres?sslmode=verify-full", server.port());
    let mut options = PostgresOptions::parse(&url).unwrap();
    options.tls.ca_file = files.with("ca.pem", &Authority::new().pem());
    let why = opens(&options).await.unwrap_err();
    assert!(why.contains("server does not support TLS"), "{why}");
}

#[tokio::test]
async fn the_password_is_that_of_the_file_at_each_connection() {
    const ASKS: &[u8] = b"local all all trust\nhost all all all scram-sha-256\n";
    let settings = ["listen_addresses=127.0.0.1".to_owned()];
    let (files, server) = (Files::new(), own_server(Release::Oldest, &[("pg_hba.conf", ASKS)], &settings));
    let says = connect(&server.config()).await;
    for statement in ["CREATE ROLE guras LOGIN PASSWORD 'first'", "CREATE DATABASE guras OWNER guras"] {
        says.batch_execute(statement).await.unwrap();
    }
    let url = format!("postgres://guras@localhost:{}/guras", server.port());
    let mut options = PostgresOptions::parse(&url).unwrap();

    options.password_file = Some(files.0.path().join("password"));
    let why = opens(&options).await.unwrap_err();
    assert!(why.starts_with("password_file: ") && why.contains("/password: No such file"), "{why}");
    files.with("password", "wrong\n");
    let why = opens(&options).await.unwrap_err();
    assert!(why.contains("password authentication failed"), "{why}");
    files.with("password", "first\n");
    assert_eq!(opens(&options).await, Ok(()));
    says.batch_execute("ALTER ROLE guras PASSWORD 'second'").await.unwrap();
    opens(&options).await.unwrap_err();
    files.with("password", "second\n");
    assert_eq!(opens(&options).await, Ok(()));
}

#[tokio::test]
async fn a_real_server_with_tls_knows_its_client_by_the_certificate() {
    let (files, known) = (Files::new(), Authority::new());
    let Certified { certificate, key } = known.certifies("localhost");
    let root = known.pem();
    let own: [(&str, &[u8]); 4] = [
        ("server.crt", certificate.as_bytes()),
        ("server.key", key.as_bytes()),
        ("root.crt", root.as_bytes()),
        ("pg_hba.conf", b"local all all trust\nhostssl all all all cert\n"),
    ];
    let settings = ["listen_addresses=127.0.0.1", "ssl=on", "ssl_ca_file=root.crt"].map(str::to_owned);
    let Some(server) = server_with_tls(&own, &settings) else {
        println!("NOT CHECKED: no PostgreSQL that can be had was built with TLS");
        return;
    };
    let url = format!("postgres://postgres@localhost:{}/postgres?sslmode=verify-full", server.port());
    let mut options = PostgresOptions::parse(&url).unwrap();
    options.tls.ca_file = files.with("ca.pem", &known.pem());
    let why = opens(&options).await.unwrap_err();
    assert!(why.contains("requires a valid client certificate"), "{why}");
    let client = known.certifies("postgres");
    options.tls.certificate_file = files.with("client.pem", &client.certificate);
    options.tls.key_file = files.with("client.key", &client.key);
    assert_eq!(opens(&options).await, Ok(()));

    let connections = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                       WHERE application_name = 'orchestrator' AND backend_type = 'client backend'";
    let _open = Postgres::open(options).await.unwrap();
    let encrypted = connect(&server.config()).await.query_one(connections, &[]).await.unwrap();
    assert_eq!(encrypted.get::<_, Option<bool>>(0), Some(true));
}
