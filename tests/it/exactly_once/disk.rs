//! A small disk of a server's own: a file system in a file, mounted in a name space that a process
//! holds, so that a server can die and come back on it, and nothing stays mounted after the test.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::fs::{FallocateFlags, fallocate};

use crate::support::process::Process;

/// Holds what the rounds write; the file takes only what is written.
const BYTES: u64 = 4 << 30;

/// What mounts it, says so, and stays. What is removed on it gives its room in the file back.
const HOLD: &str = "mount -o loop,discard \"$1\" \"$2\" && echo mounted && exec sleep infinity";

pub struct Disk {
    mount_point: PathBuf,
    holder: Process,
}

impl Disk {
    /// Makes one in a directory.
    pub async fn create(directory: &Path) -> Self {
        let (image, mount_point) = (directory.join("disk.img"), directory.join("disk"));
        File::create(&image).unwrap().set_len(BYTES).unwrap();
        std::fs::create_dir(&mount_point).unwrap();
        let made = Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image).status();
        assert!(made.expect("mkfs.ext4 is there").success());
        let mut holder = Command::new("unshare");
        holder.args(["--mount", "--propagation", "private", "sh", "-c", HOLD, "sh"]).arg(&image).arg(&mount_point);
        let mut holder = Process::start(holder);
        holder.line("the mount", |line| (line == "mounted").then_some(())).await;
        Self { mount_point, holder }
    }

    /// A command by its words, for which the disk is mounted.
    pub fn command(&self, words: &[String]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id())).args(words);
        command
    }

    /// A place on it, for those for whom it is mounted.
    pub fn inside(&self, name: &str) -> PathBuf {
        self.mount_point.join(name)
    }

    /// The same, for everybody else.
    pub fn outside(&self, name: &str) -> PathBuf {
        let inside = self.mount_point.strip_prefix("/").unwrap();
        Path::new("/proc").join(self.holder.id().to_string()).join("root").join(inside).join(name)
    }

    /// Takes all the room that is left.
    pub fn fill(&self) {
        let ballast = File::create(self.outside("ballast")).unwrap();
        let (mut end, mut step) = (0, 1 << 30);
        while step >= 1 << 12 {
            match fallocate(&ballast, FallocateFlags::empty(), end, step) {
                Ok(()) => end += step,
                Err(_) => step /= 2,
            }
        }
    }

    /// Makes room again.
    pub fn free(&self) {
        std::fs::remove_file(self.outside("ballast")).unwrap();
    }
}
