//! From a system call's numbers to what it means to VFIO: which calls matter, what they ask, what they were answered.
//!
//! This is the reading side: the calls are another program's, in the numbers of this architecture, with arguments in
//! that program's memory. Calls of our own are made elsewhere (`abi`, `ioctl`), and share the numbers and structures.

mod holder;
mod ioctl;
#[cfg(any(test, feature = "testing"))]
pub mod rehearse;

use nix::libc::{self, c_long};
use tce_engine::kernel::Fd;
use vfio_bindings::bindings::vfio::VFIO_TYPE;

use crate::{
    abi::kvm,
    seccomp::{Filter, Rule},
};

pub use holder::{
    group_of, kind_of, locked_limit, locked_memory, page_shift, platform, process_of, smallest_page,
};
pub use ioctl::{Ioctl, Memory};

/// A system call that matters to VFIO's descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// An `ioctl`.
    Ioctl {
        /// The descriptor.
        fd: Fd,
        /// The request, as this architecture encodes it.
        request: u32,
        /// The argument.
        argument: u64,
    },
    /// One that opens a path: `open`, `openat`, `openat2`, `creat`.
    Open,
    /// `close`.
    Close {
        /// The descriptor.
        fd: Fd,
    },
    /// `close_range`, unless it only marks descriptors.
    CloseRange {
        /// The first descriptor.
        first: u32,
        /// The last.
        last: u32,
    },
    /// `dup`, `dup2`, `dup3`, `fcntl(F_DUPFD…)`.
    Duplicate {
        /// The descriptor.
        fd: Fd,
        /// The number it shall have, if that was said: what has this number is closed.
        onto: Option<Fd>,
    },
}

impl Call {
    /// The call of this number and these arguments; `None` if it is none that matters.
    #[must_use]
    pub fn of(number: u64, arguments: &[u64; 6]) -> Option<Self> {
        let [first, second, third, ..] = *arguments;
        let duplicate = |onto| Self::Duplicate { fd: fd(first), onto };
        match c_long::try_from(number).ok()? {
            libc::SYS_ioctl => {
                Some(Self::Ioctl { fd: fd(first), request: low(second), argument: third })
            }
            libc::SYS_open | libc::SYS_openat | libc::SYS_openat2 | libc::SYS_creat => {
                Some(Self::Open)
            }
            libc::SYS_close => Some(Self::Close { fd: fd(first) }),
            libc::SYS_close_range => (low(third) & libc::CLOSE_RANGE_CLOEXEC == 0)
                .then_some(Self::CloseRange { first: low(first), last: low(second) }),
            libc::SYS_dup => Some(duplicate(None)),
            libc::SYS_dup2 | libc::SYS_dup3 => Some(duplicate(Some(fd(second)))),
            libc::SYS_fcntl => duplicates(low(second)).then(|| duplicate(None)),
            _ => None,
        }
    }

    /// The filter that stops a thread at these calls: at an `ioctl` only with a number of VFIO's, or of those of KVM's
    /// that make it VFIO's external user.
    #[must_use]
    pub fn filter() -> Filter {
        let ioctls = kvm_requests().map(|request| (u32::MAX, request));
        let vfio = (!0xff, low(nix::request_code_none!(VFIO_TYPE, 0)));
        let duplicates = [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC];
        let duplicates = duplicates.iter().filter_map(|command| u32::try_from(*command).ok());
        let mut rules = vec![
            Rule::SecondArgument {
                call: libc::SYS_ioctl,
                is: std::iter::once(vfio).chain(ioctls).collect(),
            },
            Rule::SecondArgument {
                call: libc::SYS_fcntl,
                is: duplicates.map(|command| (u32::MAX, command)).collect(),
            },
        ];
        let always = [
            libc::SYS_close,
            libc::SYS_openat,
            libc::SYS_open,
            libc::SYS_openat2,
            libc::SYS_creat,
            libc::SYS_close_range,
            libc::SYS_dup,
            libc::SYS_dup2,
            libc::SYS_dup3,
        ];
        rules.extend(always.map(Rule::Call));
        Filter::stopping(&rules).expect("a dozen rules are less than a filter holds")
    }
}

fn duplicates(command: u32) -> bool {
    i32::try_from(command).is_ok_and(|it| [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC].contains(&it))
}

/// Requests to KVM that concern VFIO.
fn kvm_requests() -> impl Iterator<Item = u32> {
    [
        kvm::CREATE_VM.request(),
        kvm::CREATE_DEVICE.request(),
        kvm::CREATE_SPAPR_TCE_64.request(),
        kvm::SET_DEVICE_ATTR.request(),
    ]
    .into_iter()
    .map(low)
}

/// The lower half of a register: all of it that the kernel looks at where an argument is an `int`.
fn low(register: u64) -> u32 {
    let [a, b, c, d, ..] = register.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn fd(register: u64) -> Fd {
    Fd::new(low(register).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(number: c_long, arguments: [u64; 6]) -> Option<Call> {
        Call::of(u64::try_from(number).unwrap(), &arguments)
    }

    #[test]
    fn only_the_lower_half_of_a_register_is_a_descriptor() {
        let close = call(libc::SYS_close, [0xdead_beef_0000_0007, 0, 0, 0, 0, 0]);
        assert_eq!(close, Some(Call::Close { fd: Fd::new(7) }));
        let close = call(libc::SYS_close, [0xffff_ffff, 0, 0, 0, 0, 0]);
        assert_eq!(close, Some(Call::Close { fd: Fd::new(-1) }));
    }

    #[test]
    fn an_fcntl_matters_only_if_it_duplicates() {
        let fcntl =
            |command: i32| call(libc::SYS_fcntl, [3, u64::try_from(command).unwrap(), 0, 0, 0, 0]);
        let duplicate = Some(Call::Duplicate { fd: Fd::new(3), onto: None });
        assert_eq!(fcntl(libc::F_DUPFD), duplicate);
        assert_eq!(fcntl(libc::F_DUPFD_CLOEXEC), duplicate);
        assert_eq!(fcntl(libc::F_SETFD), None);
    }

    #[test]
    fn a_close_range_that_only_marks_closes_nothing() {
        let range = |flags| call(libc::SYS_close_range, [3, 0xffff_ffff, flags, 0, 0, 0]);
        assert_eq!(range(0), Some(Call::CloseRange { first: 3, last: u32::MAX }));
        assert_eq!(range(u64::from(libc::CLOSE_RANGE_CLOEXEC)), None);
    }

    #[test]
    fn other_calls_do_not_matter() {
        assert_eq!(call(libc::SYS_read, [3, 0, 0, 0, 0, 0]), None);
        assert_eq!(Call::of(u64::MAX, &[0; 6]), None);
    }
}
