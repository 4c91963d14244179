//! What the system lets a process have, and what it has had.

use rustix::process::{Resource, getrlimit, setrlimit};

/// macOS grants no more, whatever it calls the hard limit (`OPEN_MAX`).
const OPEN_MAX: u64 = 10_240;

/// As many files and sockets as the system lets this process have; tells how many those are.
pub fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = [limit.maximum, Some(OPEN_MAX)].into_iter().find(|wanted| {
        let more = wanted.is_none_or(|wanted| limit.current.is_some_and(|current| wanted >= current));
        more && setrlimit(Resource::Nofile, rustix::process::Rlimit { current: *wanted, ..limit }).is_ok()
    });
    raised.unwrap_or(limit.current).unwrap_or(u64::MAX)
}

/// The most memory that this process ever had, in bytes, where the system tells (`VmHWM`, proc(5)): on Linux.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1_024)
}
