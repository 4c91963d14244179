//! Programs that tests of all crates ask: ffmpeg, ffprobe, node. Included by path.

use std::process::{Command, Stdio};

/// Runs a program and insists on its success: what it wrote, and what it complained of.
pub(crate) fn tool(program: &str, args: &[&str]) -> (String, String) {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is needed for this test ({error}): see `make tools`"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {}{}", text(&output.stderr), text(&output.stdout));
    (text(&output.stdout), text(&output.stderr))
}
