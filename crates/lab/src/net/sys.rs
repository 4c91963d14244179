//! The calls to the kernel that no safe crate makes: the only unsafe lines of the house, each with its reason.
#![allow(unsafe_code, reason = "the kernel's interfaces for namespaces, TUN devices and children have no safe form")]

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Pid, Signal};

/// Has the kernel kill the process that `command` starts as soon as the *thread* that starts it ends, however it ends.
pub(crate) fn die_with_this_thread(command: &mut Command) {
    let parent = rustix::process::getpid();
    let ask = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // Had the parent died before the line above, nobody would send the signal any more.
        match rustix::process::getppid().is_some_and(|now: Pid| now == parent) {
            true => Ok(()),
            false => Err(io::Error::from(rustix::io::Errno::SRCH)),
        }
    };
    // SAFETY: between fork and exec only calls that are safe in a signal handler are allowed. `ask` makes two plain system
    // calls, and allocates and locks nothing.
    unsafe { command.pre_exec(ask) };
}

/// Moves this thread into a new namespace of users and of networks.
pub(crate) fn leave_host() -> rustix::io::Result<()> {
    let flags = rustix::thread::UnshareFlags::NEWUSER | rustix::thread::UnshareFlags::NEWNET;
    // SAFETY: unsafe for `UnshareFlags::FILES` alone, which is not asked for.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Moves this thread into a new namespace of networks.
pub(crate) fn leave_network() -> rustix::io::Result<()> {
    // SAFETY: as above.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
}

pub(crate) mod device {
    //! `ioctl`s on TUN devices and interfaces; numbers and layouts from linux/if_tun.h, linux/sockios.h and linux/if.h.

    use std::net::Ipv4Addr;
    use std::os::fd::AsFd;

    use rustix::io::{Errno, Result};
    use rustix::ioctl::{Getter, IntegerSetter, Opcode, Updater, ioctl};

    const TUNSETIFF: Opcode = 0x4004_54ca;
    const TUNGETFEATURES: Opcode = 0x8004_54cf;
    const TUNSETOFFLOAD: Opcode = 0x4004_54d0;
    const SIOCSIFFLAGS: Opcode = 0x8914;
    const SIOCSIFADDR: Opcode = 0x8916;
    const SIOCSIFNETMASK: Opcode = 0x891c;

    const IFF_TUN_NO_PI_VNET_HDR: u16 = 0x0001 | 0x1000 | 0x4000;
    const IFF_UP_RUNNING: u16 = 0x0001 | 0x0040;
    /// Checksums, and segmentation of TCP over IPv4 and IPv6.
    const OFFLOADS: usize = 0x01 | 0x02 | 0x04;
    /// Segmentation of UDP, since Linux 6.2. The kernel takes the two together only.
    const OFFLOADS_UDP: usize = 0x20 | 0x40;
    const AF_INET: u16 = 2;

    /// `struct ifreq`: a name, and a union of which the longest member has 24 bytes.
    #[repr(C, align(8))]
    struct Request {
        name: [u8; 16],
        value: [u8; 24],
    }

    impl Request {
        fn new(name: &str, value: &[u8]) -> Self {
            let mut request = Self { name: [0; 16], value: [0; 24] };
            // The last byte stays 0: names end with it.
            request.name.iter_mut().take(15).zip(name.bytes()).for_each(|(to, from)| *to = from);
            request.value.iter_mut().zip(value).for_each(|(to, from)| *to = *from);
            request
        }

        /// `struct sockaddr_in` with port 0.
        fn address(name: &str, address: Ipv4Addr) -> Self {
            let mut value = [0; 8];
            value[..2].copy_from_slice(&AF_INET.to_ne_bytes());
            value[4..].copy_from_slice(&address.octets());
            Self::new(name, &value)
        }

        fn send<const OPCODE: Opcode>(mut self, fd: impl AsFd) -> Result<()> {
            // SAFETY: the opcodes of this module read a `struct ifreq` and may write one, and `Request` has its layout.
            unsafe { ioctl(fd, Updater::<OPCODE, Self>::new(&mut self)) }
        }
    }

    /// Whether what was opened is the maker of TUN devices, and says so.
    pub(crate) fn check(tun: impl AsFd) -> Result<()> {
        // SAFETY: the kernel writes an unsigned int for this opcode.
        let features: u32 = unsafe { ioctl(tun, Getter::<TUNGETFEATURES, u32>::new()) }?;
        let wanted = u32::from(IFF_TUN_NO_PI_VNET_HDR);
        (features & wanted == wanted).then_some(()).ok_or(Errno::NOTSUP)
    }

    /// Makes an open `/dev/net/tun` the device `name` of this thread's network.
    pub(crate) fn attach(tun: impl AsFd, name: &str) -> Result<()> {
        Request::new(name, &IFF_TUN_NO_PI_VNET_HDR.to_ne_bytes()).send::<TUNSETIFF>(&tun)?;
        // SAFETY: the kernel takes the argument of this opcode as a number.
        let offload = |flags| unsafe { ioctl(&tun, IntegerSetter::<TUNSETOFFLOAD>::new_usize(flags)) };
        offload(OFFLOADS | OFFLOADS_UDP).or_else(|_| offload(OFFLOADS))
    }

    pub(crate) fn set_address(socket: impl AsFd, name: &str, address: Ipv4Addr, mask: Ipv4Addr) -> Result<()> {
        Request::address(name, address).send::<SIOCSIFADDR>(&socket)?;
        Request::address(name, mask).send::<SIOCSIFNETMASK>(socket)
    }

    pub(crate) fn set_up(socket: impl AsFd, name: &str) -> Result<()> {
        Request::new(name, &IFF_UP_RUNNING.to_ne_bytes()).send::<SIOCSIFFLAGS>(socket)
    }
}
