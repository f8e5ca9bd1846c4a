//! What the traced descriptors lead to on the simulated machine.

use tce_engine::kernel::{
    ContainerFd, DeviceFd, Fd, GroupFd, GroupNumber, GuestTableFd, Kernel as _, KvmVfioFd, VmFd,
};

use crate::event::{Call, Event};

use super::{Container, ContainerId, Replay};
use crate::intent::Belief;

/// An open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum File {
    Container(ContainerFd, ContainerId),
    Group(GroupFd, u32),
    Device(DeviceFd),
    Vm(VmFd),
    Link(KvmVfioFd),
    Table(GuestTableFd),
}

impl File {
    pub(super) const fn fd(self) -> Fd {
        match self {
            Self::Container(fd, _) => fd.fd(),
            Self::Group(fd, _) => fd.fd(),
            Self::Device(fd) => fd.fd(),
            Self::Vm(fd) => fd.fd(),
            Self::Link(fd) => fd.fd(),
            Self::Table(fd) => fd.fd(),
        }
    }
}

impl Replay {
    /// The container that a call is on, or that the call's group is in.
    pub(super) fn container_of(&self, event: &Event) -> Option<ContainerId> {
        let process = event.process;
        if let Some(container) = event.call.container() {
            return match self.descriptors.get(process, container) {
                Some(File::Container(_, id)) => Some(*id),
                _ => None,
            };
        }
        let group = match &event.call {
            Call::UnsetContainer { group } | Call::OpenDevice { group, .. } => *group,
            Call::Close { fd } => *fd,
            _ => return None,
        };
        match self.descriptors.get(process, group) {
            Some(File::Group(_, number)) => self.members.get(number).copied(),
            _ => None,
        }
    }

    /// Descriptors that the program did not open in the trace: it had them before, or got them from somebody.
    pub(super) fn adopt(&mut self, event: &Event) {
        let process = event.process;
        if let Some(fd) = event.call.container()
            && self.descriptors.get(process, fd).is_none()
            && let Ok(opened) = self.kernel(process).open_container()
        {
            self.add_container(process, fd, opened);
        }
        if let Some(fd) = event.call.group()
            && self.descriptors.get(process, fd).is_none()
        {
            let groups = self.machine.profile().groups;
            let free = groups.iter().map(|group| group.number);
            let free = free.filter(|number| !self.members.contains_key(&number.0));
            for number in free.collect::<Vec<GroupNumber>>() {
                if let Ok(opened) = self.kernel(process).open_group(number) {
                    self.put(process, fd, File::Group(opened, number.0));
                    break;
                }
            }
        }
    }

    pub(super) fn add_container(&mut self, process: u32, fd: Fd, opened: ContainerFd) {
        let id = ContainerId(self.containers.len());
        self.containers.push(Container {
            process,
            fd: opened,
            groups: 0,
            belief: Belief::default(),
        });
        self.put(process, fd, File::Container(opened, id));
    }

    pub(super) fn put(&mut self, process: u32, fd: Fd, file: File) {
        if let Some(replaced) = self.descriptors.open(process, fd, file) {
            self.shut(process, replaced);
        }
    }

    /// Closes a file on the machine.
    pub(super) fn shut(&mut self, process: u32, file: File) {
        if let File::Group(_, number) = file {
            self.withdraw(number);
        }
        // Its answer is the machine's own business: the number was never the trace's.
        let _ = self.kernel(process).close(file.fd());
    }

    /// A group left its container.
    pub(super) fn withdraw(&mut self, number: u32) {
        if let Some(id) = self.members.remove(&number)
            && let Some(container) = self.containers.get_mut(id.0)
        {
            container.groups = container.groups.saturating_sub(1);
        }
    }

    /// The containers that will have lost their last group after a call.
    pub(super) fn losing(&self, event: &Event) -> Vec<ContainerId> {
        let process = event.process;
        let closing: Vec<Fd> = match &event.call {
            Call::Exit => self.descriptors.of(process),
            Call::Close { fd } => vec![*fd],
            Call::UnsetContainer { group } if event.answer.is_zero() => {
                return self.alone(process, *group).into_iter().collect();
            }
            _ => return Vec::new(),
        };
        let last = closing.into_iter().filter(|fd| self.descriptors.is_last(process, *fd));
        let mut leaving: Vec<ContainerId> = last
            .filter_map(|fd| match self.descriptors.get(process, fd) {
                Some(File::Group(_, number)) => self.members.get(number).copied(),
                _ => None,
            })
            .collect();
        leaving.sort_unstable();
        let all = leaving.clone();
        leaving.dedup();
        let count = |id: ContainerId| all.iter().filter(|other| **other == id).count();
        leaving.retain(|id| self.containers.get(id.0).is_some_and(|it| it.groups <= count(*id)));
        leaving
    }

    /// The container of a group that is its only one.
    fn alone(&self, process: u32, group: Fd) -> Option<ContainerId> {
        let Some(File::Group(_, number)) = self.descriptors.get(process, group) else {
            return None;
        };
        let id = *self.members.get(number)?;
        self.containers.get(id.0).filter(|container| container.groups == 1).map(|_| id)
    }
}
