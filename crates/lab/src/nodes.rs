//! The processes of a lab: started with an identity and neighbours of their own, killed, stopped, made to stand still.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running process. Whatever happens, it ends with this.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) child: Child,
    frozen: Option<Frozen>,
}

impl Process {
    pub(crate) fn new(child: Child) -> Self {
        Self { child, frozen: None }
    }

    /// Ends it without a word.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.frozen = None;
    }

    /// Asks it to end.
    pub(crate) fn stop(&self) -> std::io::Result<()> {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        status.success().then_some(()).ok_or_else(|| std::io::Error::other("it cannot be told to stop"))
    }

    /// Makes it stand still.
    pub(crate) fn stall(&mut self) -> std::io::Result<()> {
        if self.frozen.is_none() {
            self.frozen = Some(Frozen::new(self.child.id())?);
        }
        Ok(())
    }

    /// Lets it go on.
    pub(crate) fn resume(&mut self) -> std::io::Result<()> {
        self.frozen.take().map_or(Ok(()), Frozen::thaw)
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.frozen.is_some()
    }

    /// Whether it has ended, by itself or otherwise.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A command of the program under test, with its log in a file.
pub(crate) fn command(program: &Path, log: &Path) -> std::io::Result<Command> {
    let log = File::options().create(true).append(true).open(log)?;
    let mut command = Command::new(program);
    // What the lab's own environment says is not for its nodes.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LEVADA_")) {
        command.env_remove(name);
    }
    // A pipe that closes with this process stops the others, however this one ends; an interrupt from the terminal is
    // the lab's to handle.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).process_group(0);
    Ok(command)
}

/// A stopped process. Nothing that it holds closes, so a guard kills it should whoever stopped it end.
#[derive(Debug)]
pub struct Frozen {
    guard: Option<Child>,
}

impl Frozen {
    /// Stops a process; it is killed when this is dropped.
    pub fn new(pid: u32) -> std::io::Result<Self> {
        const GUARD: &str = r#"kill -STOP "$1"; echo; if read -r _; then kill -CONT "$1"; else kill -KILL "$1"; fi"#;
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "guard", &pid.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        // In a group of its own, an interrupt from the terminal does not end it.
        let mut guard = command.stderr(Stdio::null()).process_group(0).spawn()?;
        if let Some(stdout) = guard.stdout.take() {
            BufReader::new(stdout).read_line(&mut String::new())?;
        }
        Ok(Self { guard: Some(guard) })
    }

    /// Lets it go on.
    pub fn thaw(mut self) -> std::io::Result<()> {
        let Some(mut guard) = self.guard.take() else { return Ok(()) };
        if let Some(mut stdin) = guard.stdin.take() {
            stdin.write_all(b"\n")?;
        }
        let ended = guard.wait()?;
        ended.success().then_some(()).ok_or_else(|| std::io::Error::other("the stopped process cannot go on"))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            drop(guard.stdin.take());
            let _ = guard.wait();
        }
    }
}
