//! What is done at the begin and at the end of a call.

use std::time::{Duration, Instant};

use tce_engine::{
    errno::Errno,
    kernel::{DescriptorKind, Fd, GroupNumber},
};
use tce_vfio::{
    tracee::{self, Tid},
    wire::{self, Ioctl, Memory},
};

use super::{Circumstances, Watch};
use crate::{
    event::{Answer, Call},
    record::{Backing, calls::call, descriptors::matters},
};

/// Results of a call that was interrupted and that the kernel makes again, or answers `EINTR`, as the signal has it
/// (`ERESTARTSYS` and its kin in `linux/errno.h`).
const RESTARTS: std::ops::RangeInclusive<i64> = -516..=-512;
/// The largest errno.
const ERRNO_MAX: i64 = 4095;
/// Told for a group whose number cannot be found.
const UNKNOWN_GROUP: GroupNumber = GroupNumber(u32::MAX);

/// A call whose return is waited for.
pub(super) enum Pending {
    Ioctl { fd: Fd, kind: DescriptorKind, request: u32, argument: u64, asked: Ioctl },
    Open,
    Close { fds: Vec<Fd> },
    Duplicate { fd: Fd, kind: Option<DescriptorKind>, onto: Option<Fd> },
}

impl Watch<'_> {
    /// A thread is about to make a call.
    pub(super) fn called(&mut self, tid: Tid, number: u64, arguments: &[u64; 6]) {
        let is_recording = self.outcome.has_started && self.outcome.error.is_none();
        let call = if is_recording { wire::Call::of(number, arguments) } else { None };
        let pending = call.and_then(|call| self.pending(tid, call));
        match (self.threads.get_mut(&tid), pending) {
            (Some(thread), Some(pending)) => {
                thread.pending = Some((Instant::now(), pending));
                tracee::resume_until_return(tid);
            }
            _ => tracee::resume(tid),
        }
    }

    /// What is to be done when the call returns, if anything.
    fn pending(&mut self, tid: Tid, call: wire::Call) -> Option<Pending> {
        let process = self.threads.get(&tid)?.process;
        match call {
            wire::Call::Ioctl { fd, request, argument } => {
                let kind = self.kind(process, fd)?;
                let asked = Ioctl::read(&kind, request, argument, &Program(tid))?;
                Some(Pending::Ioctl { fd, kind, request, argument, asked })
            }
            wire::Call::Open => Some(Pending::Open),
            wire::Call::Close { fd } => {
                self.closing(process, |it| it == fd).map(|fds| Pending::Close { fds })
            }
            wire::Call::CloseRange { first, last } => {
                let range = first..=last;
                let inside = |fd: Fd| u32::try_from(fd.raw()).is_ok_and(|fd| range.contains(&fd));
                self.closing(process, inside).map(|fds| Pending::Close { fds })
            }
            wire::Call::Duplicate { fd, onto } if onto != Some(fd) => {
                let kind = self.kind(process, fd);
                let descriptors = self.processes.get_mut(&process)?;
                let replaces = onto.is_some_and(|onto| descriptors.has(onto));
                if kind.is_some() || replaces {
                    return Some(Pending::Duplicate { fd, kind, onto });
                }
                onto.map(|onto| descriptors.forget(onto));
                None
            }
            wire::Call::Duplicate { .. } => None,
        }
    }

    /// Those that matter among descriptors that are being closed. The others may be used for anything from now on.
    fn closing(&mut self, process: Tid, closes: impl Fn(Fd) -> bool) -> Option<Vec<Fd>> {
        let descriptors = self.processes.get_mut(&process)?;
        descriptors.forget_others(&closes);
        let fds: Vec<Fd> = descriptors.all().into_iter().filter(|fd| closes(*fd)).collect();
        (!fds.is_empty()).then_some(fds)
    }

    /// What a descriptor is, if calls on it are of interest.
    fn kind(&mut self, process: Tid, fd: Fd) -> Option<DescriptorKind> {
        let descriptors = self.processes.get_mut(&process)?;
        if descriptors.get(fd).is_none() {
            descriptors.set(fd, self.classify.kind_of(process, fd));
        }
        descriptors.get(fd).flatten().cloned()
    }

    /// The call that a thread was resumed into has returned.
    pub(super) fn returned(&mut self, tid: Tid, value: i64) {
        let pending = self.threads.get_mut(&tid).and_then(|thread| thread.pending.take());
        if let Some((begun, pending)) = pending {
            let duration = begun.elapsed();
            self.finish(tid, (begun, duration), pending, answer(value));
        }
        tracee::resume(tid);
    }

    fn finish(
        &mut self,
        tid: Tid,
        (begun, duration): (Instant, Duration),
        pending: Pending,
        answer: Answer,
    ) {
        let Some(process) = self.threads.get(&tid).map(|thread| thread.process) else { return };
        let circumstances =
            Circumstances { begun, duration: Some(duration), locked: None, backing: None };
        match pending {
            Pending::Ioctl { fd, kind, request, argument, asked } => {
                let ioctl = match answer {
                    Answer::Returned(_) if asked.is_answered_in_memory() => {
                        Ioctl::read(&kind, request, argument, &Program(tid)).unwrap_or(asked)
                    }
                    _ => asked,
                };
                let answer = self.made(process, &ioctl, answer);
                let call = call(fd, request, ioctl);
                let circumstances = self.looked_up(process, &call, circumstances);
                self.tell(tid, circumstances, call, answer);
            }
            Pending::Open => self.opened(tid, process, circumstances, answer),
            Pending::Close { fds } => {
                for fd in fds {
                    self.closed(tid, process, fd, answer);
                }
            }
            Pending::Duplicate { fd, kind, onto } => {
                let Some(new) = answer.descriptor() else { return };
                if let Some(onto) = onto {
                    self.closed(tid, process, onto, Answer::OK);
                }
                if let Some(kind) = kind {
                    let is_told = matters(&kind);
                    self.note(process, new, kind);
                    if is_told {
                        self.tell(tid, circumstances, Call::Duplicate { fd }, answer);
                    }
                }
            }
        }
    }

    /// Notes the descriptor that a call made. The answer, which for one call stands in the program's memory.
    fn made(&mut self, process: Tid, ioctl: &Ioctl, answer: Answer) -> Answer {
        let Some(new) = answer.descriptor() else { return answer };
        let (kind, new) = match ioctl {
            Ioctl::OpenDevice { .. } => (DescriptorKind::Device, new),
            Ioctl::CreateVm => (DescriptorKind::VirtualMachine, new),
            Ioctl::CreateGuestTable { .. } => (DescriptorKind::GuestTable, new),
            Ioctl::CreateKvmVfio { link } => (DescriptorKind::KvmVfio, *link),
            _ => return answer,
        };
        self.note(process, new, kind);
        Answer::Returned(new.raw().into())
    }

    fn opened(&mut self, tid: Tid, process: Tid, circumstances: Circumstances, answer: Answer) {
        let Some(fd) = answer.descriptor() else { return };
        let kind = self.classify.kind_of(process, fd);
        let call = match kind {
            DescriptorKind::Container => Some(Call::OpenContainer),
            DescriptorKind::Group => {
                let group = self.classify.group_of(process, fd).unwrap_or(UNKNOWN_GROUP).0;
                Some(Call::OpenGroup { group })
            }
            _ => None,
        };
        self.note(process, fd, kind);
        if let Some(call) = call {
            self.tell(tid, circumstances, call, answer);
        }
    }

    /// Told unless it was not open: a number is free after any other failure too.
    fn closed(&mut self, tid: Tid, process: Tid, fd: Fd, answer: Answer) {
        let Some(descriptors) = self.processes.get_mut(&process) else { return };
        if descriptors.forget(fd) && answer != Answer::Failed(Errno::EBADF) {
            self.tell_closed(tid, fd);
        }
    }

    fn note(&mut self, process: Tid, fd: Fd, kind: DescriptorKind) {
        if let Some(descriptors) = self.processes.get_mut(&process) {
            descriptors.set(fd, kind);
        }
    }

    /// What is asked of `/proc` about the process after a call that may have changed it.
    fn looked_up(
        &mut self,
        process: Tid,
        call: &Call,
        circumstances: Circumstances,
    ) -> Circumstances {
        let mut touch =
            |container| self.processes.get_mut(&process).is_some_and(|it| it.touch(container));
        let changes_charge = match call {
            Call::Register { .. }
            | Call::Unregister { .. }
            | Call::Create { .. }
            | Call::Remove { .. } => true,
            Call::Map { container, .. } | Call::Unmap { container, .. } => touch(*container),
            _ => false,
        };
        let backing = match call {
            Call::Register { address, size, .. } if self.backing == Backing::LookedUp => {
                wire::smallest_page(process, *address, *size)
            }
            _ => None,
        };
        let locked = if changes_charge { wire::locked_memory(process) } else { None };
        Circumstances { locked, backing, ..circumstances }
    }
}

/// What the program gets to see of a call's result.
fn answer(value: i64) -> Answer {
    if RESTARTS.contains(&value) {
        return Answer::Failed(Errno::EINTR);
    }
    match i32::try_from(value.saturating_neg()) {
        Ok(errno) if (1..=ERRNO_MAX).contains(&errno.into()) => Answer::Failed(Errno(errno)),
        _ => Answer::Returned(value),
    }
}

/// The memory of a recorded program.
struct Program(Tid);

impl Memory for Program {
    fn read(&self, address: u64, bytes: &mut [u8]) -> usize {
        tracee::read_memory(self.0, address, bytes).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_values_or_errnos() {
        assert_eq!(answer(0), Answer::OK);
        assert_eq!(answer(1), Answer::Returned(1));
        assert_eq!(answer(-22), Answer::Failed(Errno::EINVAL));
        assert_eq!(answer(-512), Answer::Failed(Errno::EINTR));
        assert_eq!(answer(-4096), Answer::Returned(-4096));
        assert_eq!(answer(i64::MIN), Answer::Returned(i64::MIN));
    }
}
