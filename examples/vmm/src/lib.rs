//! A VMM that gives its guest a device with DMA, in as few lines as it takes.
//!
//! It owns a container through the engine, asks policies which window the guest shall have, and lets the guest set the
//! window's TCEs: through KVM where there is KVM (`vmm::Way::Kvm`), or by serving the guest's hypercalls itself
//! (`vmm::Way::FrontEnd`). The guest's part is played by one virtual processor that makes hypercalls, and by a driver of
//! QEMU's `edu` device.
//!
//! - `memory`: the guest's memory, as the engine's front-end for hypercalls asks for it
//! - `decisions`: from the guest's demand to a window, through `tce-host`
//! - `vmm`: the life of the virtual machine

#![forbid(unsafe_code)]

mod decisions;
mod memory;
pub mod vmm;
