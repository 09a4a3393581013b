//! A child process whose output is kept and can be waited for.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use super::eventually;

/// The lines that one stream of a process has written so far.
#[derive(Clone, Default)]
pub struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    /// Whether there will be no more.
    ended: Arc<AtomicBool>,
}

impl Lines {
    fn collect(stream: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let kept = lines.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                kept.lock().push(String::from_utf8_lossy(&line).trim_end().to_owned());
                line.clear();
            }
            kept.ended.store(true, Ordering::Release);
        });
        lines
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap()
    }

    /// Whether all lines are here.
    fn are_all(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// All lines so far.
    pub fn all(&self) -> Vec<String> {
        self.lock().clone()
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// What `pick` makes of the first line it takes.
    pub fn find<T>(&self, pick: impl FnMut(&String) -> Option<T>) -> Option<T> {
        self.lock().iter().find_map(pick)
    }
}

/// A child process; killed when it goes out of scope.
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    /// Lines of its standard output.
    pub stdout: Lines,
    /// Lines of its standard error.
    pub stderr: Lines,
}

impl Process {
    /// Starts `command`.
    pub fn start(mut command: Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}; scripts/test installs what is missing"));
        let stdout = Lines::collect(child.stdout.take().unwrap());
        let stderr = Lines::collect(child.stderr.take().unwrap());
        let stdin = child.stdin.take();
        Self { name, child, stdin, stdout, stderr }
    }

    /// Writes a line to its standard input.
    pub fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("input is open");
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Ends its standard input.
    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until a line of its output is what `pick` looks for. A process that ends first is
    /// a failure.
    pub async fn line<T>(&mut self, what: &str, mut pick: impl FnMut(&str) -> Option<T>) -> T {
        self.wait(what, |process| process.stdout.find(|line| pick(line))).await
    }

    /// Waits until it has printed `count` lines, and returns all.
    pub async fn lines(&mut self, count: usize) -> Vec<String> {
        let enough = |process: &mut Self| (process.stdout.len() >= count).then(|| process.stdout.all());
        self.wait(&format!("{count} lines"), enough).await
    }

    async fn wait<T>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        let what = format!("{} on its output of {}", what, self.name);
        eventually(&what, async || {
            // Asked before looking, so that the last lines of an ended process are still seen.
            let ended = self.child.try_wait().unwrap().filter(|_| self.stdout.are_all());
            let found = look(self);
            if let (None, Some(status)) = (&found, ended) {
                panic!("{} ended with {status} before {what}\n{}", self.name, self.said());
            }
            found
        })
        .await
    }

    /// How it has ended, if it has.
    pub fn status_now(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub async fn status(&mut self) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        eventually(&what, async || self.child.try_wait().unwrap()).await
    }

    /// Waits for its end and returns all output; anything but exit 0 is a failure.
    pub async fn success(mut self) -> Vec<String> {
        self.end_input();
        let status = self.status().await;
        eventually("the last lines", async || self.stdout.are_all().then_some(())).await;
        assert!(status.success(), "{} ended with {status}\n{}", self.name, self.said());
        self.stdout.all()
    }

    /// Waits for its end and returns what it wrote to standard error; exit 0 is a failure.
    pub async fn failure(mut self) -> String {
        self.end_input();
        let status = self.status().await;
        eventually("the last lines", async || self.stderr.are_all().then_some(())).await;
        assert!(!status.success(), "{} ended with {status}\n{}", self.name, self.said());
        self.stderr.all().join("\n")
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let kill = ["-c", "kill -s \"$1\" \"$0\"", &self.id().to_string(), name];
        let sent = Command::new("sh").args(kill).status().unwrap();
        assert!(sent.success(), "{} is gone already\n{}", self.name, self.said());
    }

    /// The end of what it wrote, for messages.
    pub fn said(&self) -> String {
        let tail = |lines: Vec<String>| lines[lines.len().saturating_sub(40)..].join("\n");
        format!("--- stdout\n{}\n--- stderr\n{}", tail(self.stdout.all()), tail(self.stderr.all()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{} said:\n{}", self.name, self.said());
        }
    }
}
