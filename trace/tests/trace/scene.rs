//! Small traces, call by call.

use tce_engine::{
    addr::{Bytes, HostAddr, Iova},
    errno::Errno,
    kernel::Fd,
};
use tce_trace::{
    event::{Answer, Call, Event},
    format::Header,
    lint::{Finding, Report, Rule, lint},
    trace::Trace,
};

pub(crate) const CONTAINER: Fd = Fd::new(8);
pub(crate) const GROUP: Fd = Fd::new(9);
pub(crate) const OTHER_GROUP: Fd = Fd::new(10);
/// Memory that scenes register.
pub(crate) const MEMORY: u64 = 0x3fff_0000_0000;
pub(crate) const OK: Answer = Answer::OK;
pub(crate) const EINVAL: Answer = Answer::Failed(Errno::EINVAL);
pub(crate) const EPERM: Answer = Answer::Failed(Errno::EPERM);

/// A trace in the making.
pub(crate) struct Scene {
    pub(crate) header: Header,
    events: Vec<Event>,
    process: u32,
}

impl Scene {
    /// Nothing yet; a machine with powernv and 4K pages.
    pub(crate) fn empty() -> Self {
        let header = Header {
            kernel: Some("6.12.95".to_owned()),
            platform: Some(tce_engine::kernel::Platform::Powernv),
            page_size: Some(4096),
            ..Header::new(vec!["scene".to_owned()])
        };
        Self { header, events: Vec::new(), process: 1 }
    }

    /// One group in a container with a backend on powernv, 4K pages; the default window is not there yet.
    pub(crate) fn attached() -> Self {
        let mut scene = Self::empty();
        scene.call(Call::OpenContainer, opened(CONTAINER));
        scene.call(Call::OpenGroup { group: 0 }, opened(GROUP));
        scene.call(Call::SetContainer { group: GROUP, container: CONTAINER }, OK);
        scene.call(Call::SetIommu { container: CONTAINER, backend: 7 }, OK);
        scene
    }

    /// The same with the default window removed, a window of 4K pages made at 0, and 1 MiB registered.
    pub(crate) fn ready(window: u64) -> Self {
        let mut scene = Self::attached();
        scene.remove(0);
        scene.create(12, window);
        scene.register(MEMORY, 1 << 20);
        scene
    }

    pub(crate) fn call(&mut self, call: Call, answer: Answer) -> &mut Self {
        let time_us = u64::try_from(self.events.len()).unwrap();
        self.events.push(Event {
            time_us,
            duration_us: None,
            process: self.process,
            thread: self.process,
            call,
            answer,
            locked: None,
            backing: None,
        });
        self
    }

    /// From now on this process makes the calls.
    pub(crate) fn by(&mut self, process: u32) -> &mut Self {
        self.process = process;
        self
    }

    /// The memory of the last call is in pages of this size.
    pub(crate) fn backed(&mut self, page: u64) -> &mut Self {
        self.events.last_mut().unwrap().backing = Some(Bytes::new(page));
        self
    }

    pub(crate) fn remove(&mut self, start: u64) -> &mut Self {
        let start = Iova::new(start);
        self.call(Call::Remove { container: CONTAINER, flags: 0, start }, OK)
    }

    pub(crate) fn create(&mut self, page_shift: u32, size: u64) -> &mut Self {
        self.try_create(page_shift, size, 1, OK)
    }

    pub(crate) fn try_create(
        &mut self,
        page_shift: u32,
        size: u64,
        levels: u32,
        answer: Answer,
    ) -> &mut Self {
        let (container, start) = (CONTAINER, Iova::new(0));
        let size = Bytes::new(size);
        self.call(Call::Create { container, flags: 0, page_shift, size, levels, start }, answer)
    }

    pub(crate) fn register(&mut self, address: u64, size: u64) -> &mut Self {
        let (address, size) = (HostAddr::new(address), Bytes::new(size));
        self.call(Call::Register { container: CONTAINER, flags: 0, address, size }, OK)
    }

    pub(crate) fn unregister(&mut self, address: u64, size: u64) -> &mut Self {
        let (address, size) = (HostAddr::new(address), Bytes::new(size));
        self.call(Call::Unregister { container: CONTAINER, flags: 0, address, size }, OK)
    }

    pub(crate) fn map(&mut self, address: u64, iova: u64, size: u64) -> &mut Self {
        self.try_map(address, iova, size, OK)
    }

    pub(crate) fn try_map(
        &mut self,
        address: u64,
        iova: u64,
        size: u64,
        answer: Answer,
    ) -> &mut Self {
        let (address, iova) = (HostAddr::new(address), Iova::new(iova));
        let size = Bytes::new(size);
        self.call(Call::Map { container: CONTAINER, flags: 3, address, iova, size }, answer)
    }

    pub(crate) fn unmap(&mut self, iova: u64, size: u64) -> &mut Self {
        self.try_unmap(iova, size, OK)
    }

    pub(crate) fn try_unmap(&mut self, iova: u64, size: u64, answer: Answer) -> &mut Self {
        let (iova, size) = (Iova::new(iova), Bytes::new(size));
        self.call(Call::Unmap { container: CONTAINER, flags: 0, iova, size }, answer)
    }

    /// Takes everything down: memory, the window at 0, the group.
    pub(crate) fn take_down(&mut self) -> &mut Self {
        self.unregister(MEMORY, 1 << 20);
        self.remove(0);
        self.leave()
    }

    pub(crate) fn leave(&mut self) -> &mut Self {
        self.call(Call::UnsetContainer { group: GROUP }, OK);
        self.call(Call::Close { fd: GROUP }, OK);
        self.call(Call::Close { fd: CONTAINER }, OK)
    }

    pub(crate) fn trace(&self) -> Trace {
        Trace::of(&self.header, &self.events).unwrap()
    }

    /// What lint says; the simulated kernel must agree with the scene.
    #[track_caller]
    pub(crate) fn report(&self) -> Report {
        let report = self.report_anyway();
        assert_eq!(report.disagreed, 0, "{:?}", report.disagreements);
        report
    }

    pub(crate) fn report_anyway(&self) -> Report {
        lint(&self.trace()).unwrap()
    }

    /// The one finding there must be.
    #[track_caller]
    pub(crate) fn only(&self, rule: Rule) -> Finding {
        let report = self.report();
        let rules: Vec<Rule> = report.findings.iter().map(|finding| finding.rule).collect();
        assert_eq!(rules, [rule]);
        report.findings[0].clone()
    }

    /// Nothing to be found.
    #[track_caller]
    pub(crate) fn is_clean(&self) {
        assert_eq!(self.report().findings, []);
    }
}

pub(crate) fn opened(fd: Fd) -> Answer {
    Answer::Returned(fd.raw().into())
}
