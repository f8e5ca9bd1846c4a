//! What is known of a recorded process: its descriptors.

use std::collections::{BTreeMap, BTreeSet};

use tce_engine::kernel::{DescriptorKind, Fd};

/// Descriptors of one process that are remembered. Beyond that, those that do not matter are forgotten, and looked at
/// again when they are used.
const REMEMBERED_MAX: usize = 65_536;

/// The descriptors of one process, as far as calls told or `/proc` was asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Descriptors {
    /// `None`: looked at, and none of VFIO's or KVM's.
    known: BTreeMap<Fd, Option<DescriptorKind>>,
    /// Containers that saw a map or an unmap, the first of which may make the default window.
    touched: BTreeSet<Fd>,
}

impl Descriptors {
    /// What is known of a descriptor; the outer `None` if it was never looked at.
    pub(super) fn get(&self, fd: Fd) -> Option<Option<&DescriptorKind>> {
        self.known.get(&fd).map(Option::as_ref)
    }

    /// Notes what a number stands for now.
    pub(super) fn set(&mut self, fd: Fd, kind: DescriptorKind) {
        if self.known.len() >= REMEMBERED_MAX {
            self.known.retain(|_, kind| kind.is_some());
        }
        self.touched.remove(&fd);
        self.known.insert(fd, is_tracked(&kind).then_some(kind));
    }

    /// Forgets a number. Whether what it stood for matters to a trace.
    pub(super) fn forget(&mut self, fd: Fd) -> bool {
        self.touched.remove(&fd);
        self.known.remove(&fd).flatten().as_ref().is_some_and(matters)
    }

    /// Forgets those of these numbers that do not matter to a trace.
    pub(super) fn forget_others(&mut self, these: &impl Fn(Fd) -> bool) {
        self.known.retain(|fd, kind| !these(*fd) || kind.as_ref().is_some_and(matters));
    }

    /// Whether it is known, and matters to a trace.
    pub(super) fn has(&self, fd: Fd) -> bool {
        self.get(fd).flatten().is_some_and(matters)
    }

    /// Those that matter to a trace.
    pub(super) fn all(&self) -> Vec<Fd> {
        let entries = self.known.iter();
        entries.filter(|(_, kind)| kind.as_ref().is_some_and(matters)).map(|(fd, _)| *fd).collect()
    }

    /// Whether this is the first time.
    pub(super) fn touch(&mut self, container: Fd) -> bool {
        self.touched.insert(container)
    }
}

/// Whether calls on it are of interest.
fn is_tracked(kind: &DescriptorKind) -> bool {
    matters(kind) || *kind == DescriptorKind::Hypervisor
}

/// Whether a trace has events about such descriptors.
pub(super) fn matters(kind: &DescriptorKind) -> bool {
    match kind {
        DescriptorKind::Container
        | DescriptorKind::Group
        | DescriptorKind::Device
        | DescriptorKind::VirtualMachine
        | DescriptorKind::KvmVfio
        | DescriptorKind::GuestTable => true,
        DescriptorKind::Hypervisor
        | DescriptorKind::Event
        | DescriptorKind::Other(_)
        | DescriptorKind::Closed => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FD: Fd = Fd::new(8);

    #[test]
    fn a_descriptor_is_known_until_it_is_forgotten() {
        let mut descriptors = Descriptors::default();
        assert_eq!(descriptors.get(FD), None);
        descriptors.set(FD, DescriptorKind::Container);
        assert_eq!(descriptors.get(FD), Some(Some(&DescriptorKind::Container)));
        assert_eq!(descriptors.all(), [FD]);
        assert!(descriptors.forget(FD));
        assert!(!descriptors.forget(FD));
        assert_eq!(descriptors.get(FD), None);
    }

    #[test]
    fn what_does_not_matter_is_remembered_as_such() {
        let mut descriptors = Descriptors::default();
        descriptors.set(FD, DescriptorKind::Other("/dev/null".to_owned()));
        assert_eq!(descriptors.get(FD), Some(None));
        assert!(descriptors.all().is_empty() && !descriptors.has(FD));
        assert!(!descriptors.forget(FD));
    }

    #[test]
    fn a_number_that_is_used_again_is_a_new_container() {
        let mut descriptors = Descriptors::default();
        descriptors.set(FD, DescriptorKind::Container);
        assert!(descriptors.touch(FD) && !descriptors.touch(FD));
        descriptors.set(FD, DescriptorKind::Container);
        assert!(descriptors.touch(FD));
    }

    #[test]
    fn memory_is_bounded_and_what_matters_is_kept() {
        let mut descriptors = Descriptors::default();
        descriptors.set(Fd::new(0), DescriptorKind::Group);
        for number in 1..=i32::try_from(REMEMBERED_MAX).unwrap() {
            descriptors.set(Fd::new(number), DescriptorKind::Event);
        }
        assert!(descriptors.known.len() <= REMEMBERED_MAX);
        assert!(descriptors.has(Fd::new(0)));
    }
}
