//! Several processes on one container.

use tce_engine::{errno::Errno, kernel::EehOperation};

use super::{
    Applies, Check, Script, Topic,
    script::{OK, SPAPR_TCE_V2, fails, value},
    steps::{C0, at, create, elsewhere, in_block, map, register, remove, unmap, unregister},
};
use crate::step::Step;

const INFO: Step = Step::Info { file: C0 };

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "other-processes-are-refused",
        topic: Topic::Process,
        title: "A container answers no process but the one it is bound to",
        asserts: "After REGISTER, another process that inherited the descriptor gets EPERM from \
                  GET_INFO, REGISTER, UNREGISTER, CREATE, REMOVE, MAP, UNMAP and EEH_PE_OP; \
                  CHECK_EXTENSION answers it; the first goes on.",
        function: "tce_iommu_ioctl",
        trap: "A helper process cannot map for its parent; threads can.",
        engine: "An `Engine` lives in one process; its descriptors are closed on exec.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            let page = facts.page();
            let refused = || fails(Errno::EPERM);
            let state = Step::Eeh { file: C0, operation: EehOperation::GetState };
            let asks = Step::CheckExtension { file: C0, extension: SPAPR_TCE_V2 };
            Script::ready()
                .expect(register(C0, at(0), page), OK.charging(page))
                .expect(elsewhere(INFO), refused())
                .expect(elsewhere(register(C0, in_block(0, page), page)), refused())
                .expect(elsewhere(unregister(C0, at(0), page)), refused())
                .expect(elsewhere(create(C0, 16, 1 << 30, 1)), refused())
                .expect(elsewhere(remove(C0, 0)), refused())
                .expect(elsewhere(map(C0, at(0), 0, 0x1000)), refused())
                .expect(elsewhere(unmap(C0, 0, 0x1000)), refused())
                .expect(elsewhere(state), refused())
                .expect(elsewhere(asks), value(1))
                .expect(map(C0, at(0), 0, 0x1000), OK.charging(facts.default_charge()))
        },
    },
    Check {
        name: "first-call-binds-the-process",
        topic: Topic::Process,
        title: "The first REGISTER, CREATE or REMOVE binds a container to its caller",
        asserts: "GET_INFO of another process succeeds before and binds nothing; after that \
                  process declined the default window, the one that opened everything gets EPERM \
                  from REGISTER, GET_INFO and MAP.",
        function: "tce_iommu_mm_set",
        trap: "A helper that goes first takes the container away from its owner, for as long as \
                  the backend lives.",
        engine: "`Engine::adopt` takes over a fresh container only, and makes all calls itself.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            Script::ready()
                .prepare(elsewhere(INFO))
                .prepare(INFO)
                .expect(elsewhere(remove(C0, 0)), OK)
                .expect(register(C0, at(0), facts.page()), fails(Errno::EPERM))
                .expect(INFO, fails(Errno::EPERM))
                .expect(map(C0, at(0), 0, 0x1000), fails(Errno::EPERM))
        },
    },
];
