//! `orchestrator store`: a store, without the orchestrator that runs on it.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use engine::store::sqlite::backup;
use sha2::{Digest, Sha256};

use super::configuration_flags::ConfigurationFlags;
use super::exit::CommandError;
use super::{Exit, Terminal, on_one_thread};
use copy::Copy;
use doctor::Doctor;

mod copy;
mod doctor;

#[derive(Debug, Subcommand)]
pub(super) enum Store {
    /// Copy the store as it is at one moment, also while an orchestrator uses it.
    Backup(BackUp),
    /// Move everything from a SQLite file into the PostgreSQL database of the configuration, for many replicas.
    ///
    /// From its beginning on, the file cannot be served any more, and the database not until it has everything. A copy that was
    /// interrupted continues with the same command. What was written is read back and compared by count and checksum.
    Copy(Copy),
    /// Say what slows or endangers the store, and what to do. Changes nothing; an orchestrator may use the store.
    ///
    /// Exits with 6 if it finds a WARNING or a DANGER.
    Doctor(Doctor),
}

#[derive(Debug, Args)]
pub(super) struct BackUp {
    /// The file to create; it must not exist. `-` writes the copy to stdout.
    #[arg(value_name = "FILE|-")]
    to: PathBuf,
    #[command(flatten)]
    configuration: ConfigurationFlags,
}

impl Store {
    pub(super) fn run(self, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
        let BackUp { to, configuration } = match self {
            Self::Backup(backup) => backup,
            Self::Copy(copy) => return on_one_thread(copy.run(terminal)),
            Self::Doctor(doctor) => return on_one_thread(doctor.run(terminal)),
        };
        let store = configuration.load()?.configuration.store;
        let store = store.file().map_err(|error| CommandError::failed(error.to_string()))?;
        let hash = if to.as_os_str() == "-" {
            stream(store, terminal.out)?
        } else {
            back_up(store, &to)?;
            hash(&mut File::open(&to)?, &mut std::io::sink())?
        };
        terminal.talk(&format!("backed up {}: {hash}", store.display()));
        Ok(Exit::Ok)
    }
}

fn back_up(store: &Path, copy: &Path) -> Result<(), CommandError> {
    backup(store, copy).map(|_| ()).map_err(|error| CommandError::failed(error.to_string()))
}

/// Through a file beside the store, which is gone from its folder before the first byte is written.
fn stream(store: &Path, out: &mut dyn Write) -> Result<String, CommandError> {
    let mut name = store.as_os_str().to_owned();
    name.push(format!(".backup-{}", std::process::id()));
    let copy = PathBuf::from(name);
    back_up(store, &copy)?;
    let file = File::open(&copy);
    std::fs::remove_file(&copy)?;
    Ok(hash(&mut file?, out)?)
}

/// Copies everything; says how much it was and what its hash is, so that a transport that cut it is found out.
fn hash(from: &mut dyn Read, to: &mut dyn Write) -> std::io::Result<String> {
    let mut digest = Sha256::new();
    let mut bytes = 0;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        digest.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
        bytes += read;
    }
    to.flush()?;
    let hex: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{bytes} bytes, SHA-256 {hex}"))
}
