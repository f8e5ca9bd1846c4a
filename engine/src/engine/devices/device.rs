//! One open device: what may be left in it, and whether it may run.

use crate::{
    calls::{Abilities, Calls, DeviceRef, FunctionReset, Line},
    error::DeviceRefusal,
    fault::Fault,
    kernel::{DeviceFd, EventFd, Kernel},
    lease::Holder,
};

/// Who may have left something in a device since it was last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) enum Traces {
    /// Nobody.
    #[default]
    None,
    Of(Holder),
    OfSeveral,
}

impl Traces {
    pub(super) fn add(&mut self, more: &Self) {
        *self = match (&*self, more) {
            (Self::None, more) => more.clone(),
            (_, Self::None) => return,
            (Self::Of(one), Self::Of(other)) if one == other => return,
            _ => Self::OfSeveral,
        };
    }

    /// Whether somebody else than the next holder may have left something.
    pub(super) fn concern(&self, next: &Holder) -> bool {
        match self {
            Self::None => false,
            Self::Of(holder) => holder != next,
            Self::OfSeveral => true,
        }
    }
}

/// Whether a device's registers answered when they were last read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Given,
    Silent,
}

/// An open device of a group.
pub(in super::super) struct Device {
    pub(in super::super) address: String,
    pub(in super::super) fd: DeviceFd,
    pub(in super::super) traces: Traces,
    abilities: Abilities,
    /// How its interrupt line was before it was made quiet; none while it may run.
    line_before: Option<Line>,
    answer: Answer,
}

impl Device {
    /// Lets a device run that was just opened. The kernel has reset it and left bus mastering off.
    pub(super) fn take_on<K: Kernel>(
        calls: &mut Calls<K>,
        fd: DeviceFd,
        address: &str,
        requests: EventFd,
        traces: &Traces,
    ) -> Result<Self, Fault> {
        calls.watch_requests(fd, address, requests)?;
        let abilities = calls.abilities(DeviceRef { fd, address })?;
        calls.let_go(DeviceRef { fd, address }, None)?;
        let (address, traces, answer) = (address.to_owned(), traces.clone(), Answer::Given);
        Ok(Self { address, fd, traces, abilities, line_before: None, answer })
    }

    pub(super) const fn answer(&self) -> Answer {
        self.answer
    }

    /// Whether it answered when it was last asked.
    pub(in super::super) fn check_answer(&self) -> Result<(), DeviceRefusal> {
        match self.answer {
            Answer::Given => Ok(()),
            Answer::Silent => Err(DeviceRefusal::Silent { address: self.address.clone() }),
        }
    }

    pub(super) const fn has_reset(&self) -> bool {
        matches!(self.abilities.reset, FunctionReset::Works)
    }

    pub(super) const fn may_run(&self) -> bool {
        self.line_before.is_none()
    }

    fn as_ref(&self) -> DeviceRef<'_> {
        DeviceRef { fd: self.fd, address: &self.address }
    }

    /// Takes its interrupts off, then ends bus mastering and its line.
    pub(super) fn quiet<K: Kernel>(&mut self, calls: &mut Calls<K>) -> Result<(), Fault> {
        let command = calls.command(self.as_ref())?;
        let is_answer = command.is_answer();
        // A new device's line is open, should this one never have told.
        let line = if is_answer { command.line() } else { Line::Open };
        self.line_before.get_or_insert(line);
        for kind in &self.abilities.interrupts {
            let off = calls.disable_interrupts(self.as_ref(), *kind);
            // For a silent device that is the kernel's bookkeeping only.
            if is_answer {
                off?;
            }
        }
        let now =
            if command.is_quiet() { command } else { calls.make_quiet(self.as_ref(), command)? };
        self.answer = if now.is_answer() { Answer::Given } else { Answer::Silent };
        Ok(())
    }

    /// Lets it run for the leases there are.
    pub(super) fn let_go<K: Kernel>(
        &mut self,
        calls: &mut Calls<K>,
        traces: &Traces,
    ) -> Result<(), Fault> {
        self.traces.add(traces);
        calls.let_go(self.as_ref(), self.line_before)?;
        (self.line_before, self.answer) = (None, Answer::Given);
        Ok(())
    }

    /// Resets its function. Whether or not that works, it must be quiet as before.
    pub(super) fn reset<K: Kernel>(
        &mut self,
        calls: &mut Calls<K>,
    ) -> Result<Result<(), Fault>, Fault> {
        let reset = calls.reset_device(self.as_ref());
        let mut command = calls.command(self.as_ref())?;
        if !command.is_quiet() {
            command = calls.make_quiet(self.as_ref(), command)?;
        }
        self.answer = if command.is_answer() { Answer::Given } else { Answer::Silent };
        Ok(reset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_of_one_holder_concern_others_only() {
        let [one, other] = ["one", "other"].map(|name| Holder::new(name).expect("a name"));
        let of = |holder: &Holder| Traces::Of(holder.clone());
        let mut traces = Traces::None;
        assert!(!traces.concern(&one));
        traces.add(&of(&one));
        traces.add(&of(&one));
        traces.add(&Traces::None);
        assert!(!traces.concern(&one) && traces.concern(&other));
        traces.add(&of(&other));
        traces.add(&of(&other));
        assert!(traces.concern(&one) && traces.concern(&other));
    }
}
