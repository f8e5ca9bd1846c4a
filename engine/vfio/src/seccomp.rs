//! Seccomp filters: one that stops a thread for its tracer at a few system calls and lets all others run at full speed,
//! and one that denies all but a few.
//!
//! A filter is a classic BPF program over `struct seccomp_data` (`linux/seccomp.h`), built here by hand. The first only
//! ever answers `SECCOMP_RET_ALLOW` or `SECCOMP_RET_TRACE`: it forbids nothing. The second answers `SECCOMP_RET_ALLOW`,
//! or `SECCOMP_RET_ERRNO` with `EPERM`, or `SECCOMP_RET_KILL_PROCESS` to a call of another architecture.
#![expect(unsafe_code, reason = "seccomp has no safe form")]

use std::{mem::offset_of, process, ptr};

use nix::{
    errno::Errno as NixErrno,
    libc::{self, c_int, c_long, c_uint, sock_filter, sock_fprog},
    sys::prctl,
};
use tce_engine::errno::Errno;

use crate::descriptors::from_nix;

/// The longest program the kernel takes (`BPF_MAXINSNS`).
const INSTRUCTIONS_MAX: usize = 4096;

/// `AUDIT_ARCH_…` of this architecture: calls by another one (a 32-bit program's, say) have other numbers and pass.
#[cfg(all(target_arch = "powerpc64", target_endian = "little"))]
const NATIVE: u32 = 0xc000_0015;
#[cfg(all(target_arch = "powerpc64", target_endian = "big"))]
const NATIVE: u32 = 0x8000_0015;
#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;

/// The call fails with `EPERM`.
const DENY: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();

/// Instructions of classic BPF (`linux/bpf_common.h`), as far as they are used.
mod opcode {
    /// `BPF_LD | BPF_W | BPF_ABS`: loads a word of the data.
    pub(super) const LOAD: u16 = 0x20;
    /// `BPF_ALU | BPF_AND | BPF_K`.
    pub(super) const AND: u16 = 0x54;
    /// `BPF_JMP | BPF_JEQ | BPF_K`.
    pub(super) const JUMP_EQUAL: u16 = 0x15;
    /// `BPF_RET | BPF_K`.
    pub(super) const RETURN: u16 = 0x06;
}

/// What a thread needs that computes with memory of its own and talks through descriptors that it has already: nothing
/// that opens, connects, starts, signals others or asks about anything. What it does on a signal is its own business:
/// without a way back to the default, the standard library's handler of `SIGSEGV` would be called forever.
const COMPUTING: [c_long; 23] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_memfd_create,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
    libc::SYS_clock_gettime,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// When a call stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Always.
    Call(c_long),
    /// If the lower half of the second argument, under one of these masks, has the value beside it.
    SecondArgument {
        /// The call.
        call: c_long,
        /// Masks and values.
        is: Vec<(u32, u32)>,
    },
}

/// A filter.
#[derive(Clone, Debug)]
pub struct Filter {
    program: Vec<sock_filter>,
}

impl Filter {
    /// Stops calls as the rules say; `None` if there are more than one filter can hold.
    #[must_use]
    pub fn stopping(rules: &[Rule]) -> Option<Self> {
        let mut program = vec![
            load(offset(offset_of!(libc::seccomp_data, arch))),
            // Skips the return.
            jump(NATIVE, 1, 0),
            allow(),
            load(offset(offset_of!(libc::seccomp_data, nr))),
        ];
        for rule in rules {
            program.extend(block(rule)?);
        }
        program.push(allow());
        (program.len() <= INSTRUCTIONS_MAX).then_some(Self { program })
    }

    /// Allows a thread of this process to compute, to use the descriptors that it has, to make files that are only
    /// memory, and to abort; every other call fails with `EPERM`. `None` if this machine's numbers do not fit a filter.
    #[must_use]
    pub fn computing() -> Option<Self> {
        let mut program = vec![
            load(offset(offset_of!(libc::seccomp_data, arch))),
            jump(NATIVE, 1, 0),
            returning(libc::SECCOMP_RET_KILL_PROCESS),
            load(offset(offset_of!(libc::seccomp_data, nr))),
        ];
        for call in COMPUTING {
            program.extend([jump(number(call)?, 0, 1), allow()]);
        }
        // Sealing such a file is all that may be asked of a descriptor.
        let seal = (1, libc::F_ADD_SEALS.unsigned_abs());
        program.extend(allowing(libc::SYS_fcntl, &[seal])?);
        // `abort` is a signal to oneself.
        let oneself = [(0, process::id()), (2, libc::SIGABRT.unsigned_abs())];
        program.extend(allowing(libc::SYS_tgkill, &oneself)?);
        program.push(returning(DENY));
        Some(Self { program })
    }

    /// Puts the filter on this thread and on all that it starts, programs included, for good. While there is no tracer,
    /// the calls it stops fail with `ENOSYS`.
    ///
    /// A thread without `CAP_SYS_ADMIN` gives up gaining privileges by starting a program (`no_new_privs`), for itself
    /// and for all that it starts: so does every such thread that wants a filter.
    ///
    /// # Errors
    /// What the kernel said; `EINVAL` or `ENOSYS` if it has no filters.
    pub fn install(&self) -> Result<(), Errno> {
        match self.set() {
            Err(NixErrno::EACCES) => {
                prctl::set_no_new_privs().map_err(from_nix)?;
                self.set().map_err(from_nix)
            }
            result => result.map_err(from_nix),
        }
    }

    fn set(&self) -> Result<(), NixErrno> {
        let len = u16::try_from(self.program.len()).map_err(|_| NixErrno::E2BIG)?;
        let program = sock_fprog { len, filter: self.program.as_ptr().cast_mut() };
        let flags: c_uint = 0;
        // SAFETY: `seccomp(SECCOMP_SET_MODE_FILTER)` copies `len` instructions out of `filter`, both of which are
        // `program`'s, alive during the call, and writes nothing. The kernel checks the program itself.
        let result = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                ptr::from_ref(&program),
            )
        };
        NixErrno::result(result).map(|_| ())
    }
}

/// The instructions of one rule. They leave the number in the accumulator if the call is another.
fn block(rule: &Rule) -> Option<Vec<sock_filter>> {
    match rule {
        Rule::Call(call) => Some(vec![jump(number(*call)?, 0, 1), trace()]),
        Rule::SecondArgument { call, is } => {
            let mut inner = Vec::new();
            for (mask, value) in is {
                inner.extend([load(argument(1)?), and(*mask), jump(*value, 0, 1), trace()]);
            }
            inner.push(allow());
            let mut block = vec![jump(number(*call)?, 0, u8::try_from(inner.len()).ok()?)];
            block.extend(inner);
            Some(block)
        }
    }
}

/// The instructions that allow a call only if these arguments, the first of which is 0, have these values. They leave the
/// number in the accumulator if the call is another.
fn allowing(call: c_long, arguments: &[(usize, u32)]) -> Option<Vec<sock_filter>> {
    // Each one that is another skips what is before the denial at the end.
    let mut inner = vec![allow(), returning(DENY)];
    for (index, value) in arguments.iter().rev() {
        let skipped = u8::try_from(inner.len() - 1).ok()?;
        inner.splice(0..0, [load(argument(*index)?), jump(*value, 0, skipped)]);
    }
    let mut block = vec![jump(number(call)?, 0, u8::try_from(inner.len()).ok()?)];
    block.extend(inner);
    Some(block)
}

fn number(call: c_long) -> Option<u32> {
    u32::try_from(call).ok()
}

/// Where the lower half of an argument stands, of which the first is 0.
fn argument(index: usize) -> Option<u32> {
    let whole = offset_of!(libc::seccomp_data, args) + index * size_of::<u64>();
    let lower = if cfg!(target_endian = "little") { 0 } else { size_of::<u32>() };
    u32::try_from(whole + lower).ok()
}

#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "asserted to fit")]
const fn offset(bytes: usize) -> u32 {
    assert!(bytes < size_of::<libc::seccomp_data>());
    bytes as u32
}

const fn load(at: u32) -> sock_filter {
    sock_filter { code: opcode::LOAD, jt: 0, jf: 0, k: at }
}

const fn and(mask: u32) -> sock_filter {
    sock_filter { code: opcode::AND, jt: 0, jf: 0, k: mask }
}

/// Skips so many instructions if the accumulator is the value, and so many if it is not.
const fn jump(value: u32, equal: u8, other: u8) -> sock_filter {
    sock_filter { code: opcode::JUMP_EQUAL, jt: equal, jf: other, k: value }
}

const fn allow() -> sock_filter {
    returning(libc::SECCOMP_RET_ALLOW)
}

const fn trace() -> sock_filter {
    returning(libc::SECCOMP_RET_TRACE)
}

const fn returning(what: u32) -> sock_filter {
    sock_filter { code: opcode::RETURN, jt: 0, jf: 0, k: what }
}

// The layout that the kernel's programs see.
const _: () = {
    assert!(offset_of!(libc::seccomp_data, nr) == 0);
    assert!(offset_of!(libc::seccomp_data, arch) == 4);
    assert!(offset_of!(libc::seccomp_data, args) == 16);
    assert!(size_of::<c_int>() == 4);
};

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program answers to a call, computed as the kernel would.
    fn answer(filter: &Filter, arch: u32, call: u32, second: u64) -> u32 {
        answer_to(filter, arch, call, [0, second, 0])
    }

    fn answer_to(filter: &Filter, arch: u32, call: u32, arguments: [u64; 3]) -> u32 {
        let mut data = [0_u8; size_of::<libc::seccomp_data>()];
        data[0..4].copy_from_slice(&call.to_ne_bytes());
        data[4..8].copy_from_slice(&arch.to_ne_bytes());
        for (index, argument) in arguments.into_iter().enumerate() {
            data[16 + 8 * index..][..8].copy_from_slice(&argument.to_ne_bytes());
        }
        let (mut at, mut accumulator) = (0, 0_u32);
        loop {
            let instruction = filter.program[at];
            at += 1;
            let k = usize::try_from(instruction.k).unwrap();
            match instruction.code {
                opcode::LOAD => {
                    accumulator = u32::from_ne_bytes(data[k..k + 4].try_into().unwrap());
                }
                opcode::AND => accumulator &= instruction.k,
                opcode::JUMP_EQUAL if accumulator == instruction.k => {
                    at += usize::from(instruction.jt);
                }
                opcode::JUMP_EQUAL => at += usize::from(instruction.jf),
                opcode::RETURN => return instruction.k,
                other => panic!("{other:#x}"),
            }
        }
    }

    fn filter() -> Filter {
        let ioctl =
            Rule::SecondArgument { call: 54, is: vec![(0xff00, 0x3b00), (u32::MAX, 0xae01)] };
        Filter::stopping(&[Rule::Call(6), ioctl, Rule::Call(41)]).unwrap()
    }

    #[test]
    fn the_calls_of_the_rules_stop_and_no_others() {
        let filter = filter();
        for call in 0..400 {
            let expected = match call {
                6 | 41 => libc::SECCOMP_RET_TRACE,
                _ => libc::SECCOMP_RET_ALLOW,
            };
            assert_eq!(answer(&filter, NATIVE, call, 0), expected, "call {call}");
        }
    }

    #[test]
    fn a_call_is_chosen_by_the_lower_half_of_its_second_argument() {
        let stops = |second| answer(&filter(), NATIVE, 54, second) == libc::SECCOMP_RET_TRACE;
        assert!(stops(0x2000_3b71) && stops(0x3b64) && stops(0xffff_ffff_0000_3b64));
        assert!(stops(0xae01) && stops(0x1_0000_ae01));
        assert!(!stops(0xae80) && !stops(0x2000_ae01) && !stops(0x5401) && !stops(0));
    }

    #[test]
    fn calls_of_another_architecture_pass() {
        assert_eq!(answer(&filter(), 0x4000_0003, 6, 0), libc::SECCOMP_RET_ALLOW);
    }

    #[test]
    fn computing_is_what_stands_in_the_list_and_nothing_else() {
        use libc::{SYS_clone, SYS_execve, SYS_ioctl, SYS_kill, SYS_openat, SYS_ptrace};
        let filter = Filter::computing().unwrap();
        let listed = COMPUTING.map(|call| number(call).unwrap());
        for call in 0..1_000 {
            let expected = if listed.contains(&call) { libc::SECCOMP_RET_ALLOW } else { DENY };
            assert_eq!(answer(&filter, NATIVE, call, 0), expected, "call {call}");
        }
        for call in [SYS_clone, SYS_execve, SYS_ioctl, SYS_kill, SYS_openat, SYS_ptrace] {
            assert_eq!(answer(&filter, NATIVE, number(call).unwrap(), 0), DENY, "call {call}");
        }
        // The numbers of x32 are those of x86_64 with a bit.
        assert_eq!(answer(&filter, NATIVE, 0x4000_0000, 0), DENY);
    }

    #[test]
    fn of_a_descriptor_only_sealing_may_be_asked() {
        let filter = Filter::computing().unwrap();
        let fcntl = |what: i32| {
            let call = number(libc::SYS_fcntl).unwrap();
            answer(&filter, NATIVE, call, u64::from(what.unsigned_abs()))
        };
        assert_eq!(fcntl(libc::F_ADD_SEALS), libc::SECCOMP_RET_ALLOW);
        for what in [libc::F_SETOWN, libc::F_SETFL, libc::F_DUPFD, libc::F_GETFD] {
            assert_eq!(fcntl(what), DENY, "{what}");
        }
    }

    #[test]
    fn a_process_that_only_computes_may_abort_and_signal_nothing_else_to_nobody_else() {
        let filter = Filter::computing().unwrap();
        let tgkill = |process: u32, signal: i32| {
            let call = number(libc::SYS_tgkill).unwrap();
            let arguments = [u64::from(process), 7, u64::from(signal.unsigned_abs())];
            answer_to(&filter, NATIVE, call, arguments)
        };
        assert_eq!(tgkill(process::id(), libc::SIGABRT), libc::SECCOMP_RET_ALLOW);
        assert_eq!(tgkill(process::id(), libc::SIGKILL), DENY);
        assert_eq!(tgkill(process::id() + 1, libc::SIGABRT), DENY);
    }

    #[test]
    fn a_call_of_another_architecture_ends_what_only_computes() {
        let answer = answer(&Filter::computing().unwrap(), 0x4000_0003, 3, 0);
        assert_eq!(answer, libc::SECCOMP_RET_KILL_PROCESS);
    }

    #[test]
    fn more_rules_than_a_program_can_hold_are_refused() {
        assert!(Filter::stopping(&vec![Rule::Call(1); INSTRUCTIONS_MAX]).is_none());
        let is = vec![(0, 1); 200];
        assert!(Filter::stopping(&[Rule::SecondArgument { call: 1, is }]).is_none());
        assert!(Filter::stopping(&[Rule::Call(-1)]).is_none());
    }
}
