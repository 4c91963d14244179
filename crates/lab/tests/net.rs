//! The network of a lab with real processes and real sockets. Each case runs in namespaces and on loopback.
//!
//! This is a program of its own and no libtest: namespaces must be entered before there is any thread, and the nodes'
//! processes are this same program, which then plays the [`node`] it is told to.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod cases;
mod node;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use levada_lab::net::{self, Mode, Why};

fn main() -> ExitCode {
    if let Some(role) = std::env::var_os(node::ROLE) {
        node::play(&role.into_string().unwrap());
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if std::env::args().any(|argument| argument == "--list") {
        cases::EVERYWHERE.iter().chain(cases::IN_NAMESPACES).for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    // Both stay outside: a socket and a process keep the network that they were born into.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut visitor = cases::Player::outside();
    let entered = net::enter().unwrap();
    println!("\nthe lab of this machine: {entered}");
    let mut modes = vec![Mode::Loopback(Why::Asked)];
    match entered {
        Mode::Namespaces => modes.insert(0, Mode::Namespaces),
        Mode::Loopback(why) => println!("NOT TESTED in namespaces: {why}"),
    }

    let (mut passed, mut failed) = (0, 0);
    for mode in modes {
        let (kind, more) =
            if mode == Mode::Namespaces { ("namespaces", cases::IN_NAMESPACES) } else { ("loopback", &[][..]) };
        for (name, case) in cases::EVERYWHERE.iter().chain(more) {
            let name = format!("{kind}::{name}");
            if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part)) {
                continue;
            }
            let mut world = cases::World { mode, listener: listener.try_clone().unwrap(), visitor: &mut visitor };
            let is_ok = catch_unwind(AssertUnwindSafe(|| case(&mut world))).is_ok();
            println!("test {name} ... {}", if is_ok { "ok" } else { "FAILED" });
            passed += u32::from(is_ok);
            failed += u32::from(!is_ok);
        }
    }
    println!("\n{passed} passed, {failed} failed");
    ExitCode::from(u8::from(failed > 0))
}
