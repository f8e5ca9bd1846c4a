//! Enhanced error handling, as far as it is harmless to ask.

use tce_engine::{errno::Errno, kernel::EehOperation};

use super::{
    Applies, Check, Need, Script, Topic,
    script::{OK, fails},
    steps::C0,
};
use crate::step::Step;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "working-pe-is-in-state-normal",
        topic: Topic::Eeh,
        title: "A PE that works is in state 0, which the call returns as its value",
        asserts: "EEH_PE_OP's GET_STATE is 0 without anything registered, ENABLE is 0, and \
                  GET_STATE is 0 still.",
        function: "vfio_spapr_iommu_eeh_ioctl, eeh_pe_get_state",
        trap: "A state other than 0 comes as a positive result; with several groups only the \
                  first such is seen.",
        engine: "The seam gives the raw value (`Raw::Returned`), and no call takes a positive \
                  result for success.",
        applies: Applies::ANYWHERE.with(&[Need::Eeh]),
        leaves: None,
        script: |_| {
            let call = |operation| Step::Eeh { file: C0, operation };
            Script::ready()
                .expect(call(EehOperation::GetState), OK)
                .expect(call(EehOperation::Enable), OK)
                .expect(call(EehOperation::GetState), OK)
        },
    },
    Check {
        name: "machine-without-eeh-has-no-pe",
        topic: Topic::Eeh,
        title: "Where there is no EEH, every operation is ENODEV",
        asserts: "EEH_PE_OP's GET_STATE and ENABLE are ENODEV.",
        function: "vfio_spapr_iommu_eeh_ioctl",
        trap: "CHECK_EXTENSION 5 says so beforehand.",
        engine: "The survey (`tce doctor`) asks for the extension.",
        applies: Applies::ANYWHERE.with(&[Need::NoEeh]),
        leaves: None,
        script: |_| {
            let call = |operation| Step::Eeh { file: C0, operation };
            Script::ready()
                .expect(call(EehOperation::GetState), fails(Errno::ENODEV))
                .expect(call(EehOperation::Enable), fails(Errno::ENODEV))
        },
    },
];
