//! A guest's processor, and the program it runs: one hypercall, and a second one that nobody answers, so that the
//! process gets to see what the first one gave.

use std::sync::Arc;

use tce_engine::{
    addr::{Bytes, GuestAddress, PageShift},
    errno::Errno,
    kernel::{MemoryRange, Raw},
    machine::{Backing, GuestStep, HypercallExit, HypercallRegisters, MachineError, MemoryRequest},
};

use super::{done, failed};
use crate::{
    abi::kvm,
    descriptors::Descriptor,
    ioctl,
    mapping::Mapping,
    memory::Ground,
    pages::{Pages, Use},
};

/// Where the program's page lies: far above any memory that a guest here is given.
pub(super) const PROGRAM: GuestAddress = GuestAddress::new(1 << 40);
/// The program.
const INSTRUCTIONS: [u32; 5] = [
    0x4400_0022, // sc 1: the hypercall
    0x7c68_1b78, // mr r8,r3: its return code
    0x3860_ffff, // li r3,-1: no hypercall's token
    0x4400_0022, // sc 1
    0x4800_0000, // b .
];
/// Where the guest stands when the process has to answer its hypercall.
const AFTER_THE_CALL: u64 = PROGRAM.raw() + 4;
/// Where it stands when the kernel has answered.
const AFTER_THE_END: u64 = PROGRAM.raw() + 16;
/// 64-bit mode, little-endian; no address translation and no interrupts.
const MSR: u64 = 1 << 63 | 1;
/// How often a run that a signal has cut short is taken up again.
const RUNS_MAX: u32 = 1000;

/// The processor.
#[derive(Debug)]
pub(super) struct Processor {
    descriptor: Descriptor,
    /// `struct kvm_run`.
    run: Pages,
}

/// The page with the program.
pub(super) fn program(system_page: PageShift) -> Result<(MemoryRange, Ground), Errno> {
    let request = MemoryRequest {
        size: system_page.bytes(),
        backing: Backing::Anonymous,
        align: system_page,
    };
    let page = Mapping::new(&request, system_page)?;
    let bytes: Vec<u8> = INSTRUCTIONS.iter().flat_map(|word| word.to_le_bytes()).collect();
    page.write(Bytes::ZERO, &bytes);
    let memory = MemoryRange { address: page.address(), size: page.size() };
    Ok((memory, Ground::of(Arc::new(page))))
}

impl Processor {
    /// `KVM_CREATE_VCPU` of one that makes PAPR's hypercalls. `struct kvm_run` is in the first page of its file.
    pub(super) fn new(vm: &Descriptor, system_page: PageShift) -> Result<Self, Errno> {
        let descriptor = Descriptor::from(ioctl::create_vcpu(vm)?);
        let mut papr =
            kvm::EnableCapability { capability: kvm::CAP_PPC_PAPR, ..Default::default() };
        done(ioctl::with(&descriptor, &kvm::VCPU_ENABLE_CAP, &mut papr))?;
        let run = Pages::map(&descriptor, 0, system_page.bytes().raw(), Use::ReadWrite)?;
        Ok(Self { descriptor, run })
    }

    /// Lets the guest make a hypercall.
    pub(super) fn hypercall(
        &mut self,
        call: &HypercallRegisters,
    ) -> Result<HypercallExit, MachineError> {
        self.load(call).map_err(failed(GuestStep::Processor))?;
        self.run().map_err(failed(GuestStep::Run))?;
        let exit_reason = self.run.half(kvm::run::EXIT_REASON);
        let mut registers = kvm::Registers::default();
        done(ioctl::with(&self.descriptor, &kvm::GET_REGS, &mut registers))
            .map_err(failed(GuestStep::Run))?;
        match (exit_reason, registers.pc) {
            (kvm::EXIT_PAPR_HCALL, AFTER_THE_CALL) => Ok(HypercallExit::ToUserSpace),
            (kvm::EXIT_PAPR_HCALL, AFTER_THE_END) => {
                let [_, _, _, _, value, _, _, _, code, ..] = registers.gpr;
                Ok(HypercallExit::Answered { code, value })
            }
            _ => Err(MachineError::GuestAstray { exit_reason }),
        }
    }

    /// Puts the guest before its hypercall.
    fn load(&mut self, call: &HypercallRegisters) -> Result<(), Errno> {
        let mut registers =
            kvm::Registers { pc: PROGRAM.raw(), msr: MSR, ..kvm::Registers::default() };
        let [r4, r5, r6, r7] = call.arguments;
        let used = [call.token, r4, r5, r6, r7];
        registers.gpr[3..8].copy_from_slice(&used);
        // If the guest has stopped at a hypercall before, KVM takes these registers from here when it goes on
        // (`kvm_arch_vcpu_ioctl_run`).
        let answers = registers.gpr[3..13].iter();
        for (offset, value) in (kvm::run::HYPERCALL_RETURN..).step_by(size_of::<u64>()).zip(answers)
        {
            self.run.set_word(offset, *value);
        }
        done(ioctl::with(&self.descriptor, &kvm::SET_REGS, &mut registers))
    }

    fn run(&self) -> Result<(), Errno> {
        for _ in 0..RUNS_MAX {
            match ioctl::plain(&self.descriptor, &kvm::RUN) {
                Raw::Returned(_) => return Ok(()),
                Raw::Failed(Errno::EINTR | Errno::EAGAIN) => {}
                Raw::Failed(errno) => return Err(errno),
            }
        }
        Err(Errno::EINTR)
    }
}
