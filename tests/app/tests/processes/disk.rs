//! Disks that a test can fill or make read-only, by means of Linux that need no privileges: name spaces and limits.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

/// A mount that only the processes see that are launched into it. It goes with this value.
pub(crate) struct Disk {
    holder: Child,
    folder: PathBuf,
}

impl Disk {
    /// A file system in memory of so many megabytes, over this folder.
    pub(crate) fn small(folder: &Path, megabytes: u32) -> Option<Self> {
        Self::mounted(folder, &format!("mount -t tmpfs -o size={megabytes}m tmpfs \"$0\""))
    }

    /// A folder or a file as it is, but no one can write to it.
    pub(crate) fn read_only(folder: &Path) -> Option<Self> {
        Self::mounted(folder, "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\"")
    }

    /// None, with the reason printed, where this machine lets no one mount anything.
    fn mounted(folder: &Path, mount: &str) -> Option<Self> {
        // Holds the name space open over restarts; ends with its input.
        let script = format!("{mount} && echo mounted && exec cat >/dev/null");
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", &script]).arg(folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut holder = match command.spawn() {
            Ok(holder) => holder,
            Err(error) => {
                println!("SKIPPED: mounting needs unshare of util-linux: {error}");
                return None;
            }
        };
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        if said.trim() == "mounted" {
            return Some(Self { holder, folder: folder.to_owned() });
        }
        let output = holder.wait_with_output().unwrap();
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        println!("SKIPPED: this machine lets its users mount nothing: {why}");
        None
    }

    /// What launches a program so that it sees the disk.
    pub(crate) fn launcher(&self) -> impl Iterator<Item = String> + use<> {
        let target = self.holder.id().to_string();
        let words = ["nsenter", "--preserve-credentials", "--user", "--mount", "--target", &target, "--"];
        words.map(str::to_owned).into_iter()
    }

    /// The folder as those see it who see the disk.
    fn inside(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.folder.strip_prefix("/").unwrap())
    }

    /// Fills it to the last byte.
    pub(crate) fn fill(&self) {
        let mut ballast = File::options().create(true).append(true).open(self.inside().join("ballast")).unwrap();
        for size in [64 << 10, 4 << 10, 1] {
            let block = vec![7_u8; size];
            while ballast.write_all(&block).is_ok() {}
        }
    }

    /// There is as much room again as there was.
    pub(crate) fn make_room(&self) {
        fs::remove_file(self.inside().join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _gone = self.holder.kill();
        let _gone = self.holder.wait();
    }
}

/// What launches a program to which a file that may not grow is an error, as on a full disk, and not a signal.
pub(crate) fn minding_limits() -> impl Iterator<Item = String> {
    ["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""].map(str::to_owned).into_iter()
}

/// No file that this process writes becomes larger than so many bytes; none for the limit that this process has.
pub(crate) fn limit_files(process: u32, bytes: Option<u64>) {
    let own = rustix::process::getrlimit(Resource::Fsize);
    let limit = Rlimit { current: bytes.or(own.current), maximum: own.maximum };
    prlimit(Pid::from_raw(process.cast_signed()), Resource::Fsize, limit).unwrap();
}

/// The files of a folder with what is in them. Lock files, and the empty logs that looking at a database leaves, are
/// no writing to it.
pub(crate) fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let named = |path: &PathBuf, end: &str| path.to_string_lossy().ends_with(end);
    let files = files.filter(|path| path.is_file() && !named(path, ".lock") && !named(path, "-shm"));
    let files = files.map(|path| (path.clone(), fs::read(path).unwrap())).filter(|(_, bytes)| !bytes.is_empty());
    let mut files: Vec<_> = files.collect();
    files.sort();
    files
}
