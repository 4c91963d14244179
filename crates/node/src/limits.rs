//! What the system lets a process have.

use rustix::process::{Resource, getrlimit, setrlimit};

/// As many files and sockets as the system lets this process have; tells how many those are.
pub fn raise_open_files() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    let now = if setrlimit(Resource::Nofile, limit).is_ok() { limit.current } else { before };
    now.unwrap_or(u64::MAX)
}
