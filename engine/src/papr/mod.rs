//! A guest's TCE hypercalls over a lease: PAPR's `H_PUT_TCE`, `H_PUT_TCE_INDIRECT`, `H_STUFF_TCE` and `H_GET_TCE`.
//!
//! A VMM says which *buses* its guest has ([`Buses::add`]): a LIOBN, the bus addresses behind it and the page size that
//! the guest was told. It then gives each hypercall to [`Buses::serve`] and puts [`ReturnCode::register`] and
//! [`Answer::value`] into the guest's registers. In between, [`Buses::translate`] makes a hypercall a list of edits
//! without any engine, and the engine makes one plan of them.
//!
//! A device puts the guest's bus addresses on the wire as they are, so the guest's table stands exactly where the
//! window is (KVM demands the same of a table that it accelerates, `kvm_spapr_tce_attach_iommu_group`). The guest's
//! page may be larger than the window's: then one TCE of the guest is several of the window. It may not be smaller.
//! What a guest unmaps must be out of reach when its call returns, so the lease unmaps at once, never later.
//!
//! # What is checked, and what is answered
//!
//! Everything is checked before any kernel call. PAPR means LoPAR, the chapters on the `H_*_TCE` calls, on return codes
//! and on the CMO option; KVM means the handlers in `book3s_64_vio.c`, where `too hard` hands the call to the VMM,
//! which is QEMU (`spapr_iommu.c`). Where they differ, PAPR decides; where PAPR is silent, KVM. Exceptions are marked.
//!
//! | what is wrong | PAPR | KVM | QEMU | here |
//! |---|---|---|---|---|
//! | no such LIOBN, or more than 32 bits of it | `H_PARAMETER` | too hard | `H_PARAMETER` | `H_PARAMETER` |
//! | `INDIRECT` with a negative LIOBN (the multi-table option) | `H_FUNCTION` | too hard | `H_PARAMETER` | `H_FUNCTION` |
//! | bus address outside the table, at the start or at the end | `H_PARAMETER` | `H_PARAMETER` (the end only since `0b271f7d7f5e`) | `H_PARAMETER`, but entries before it are set | `H_PARAMETER` |
//! | bus address inside a page | silent | `H_PARAMETER` | rounds down | `H_PARAMETER` |
//! | `INDIRECT` of more than 512 | `H_PARAMETER` | `H_PARAMETER` | `H_PARAMETER` | `H_PARAMETER` |
//! | a count of 0, all else right | nothing to do | `H_SUCCESS` | `H_PARAMETER` | `H_SUCCESS` |
//! | list not on a 4 KiB border | `H_PARAMETER` | `H_PARAMETER` | `H_PARAMETER` | `H_PARAMETER` |
//! | list not in guest memory | `H_PARAMETER` | too hard | reads anything | `H_PARAMETER` |
//! | TCE points outside guest memory | `H_PARAMETER` | too hard | `H_SUCCESS`, and an error in its log | `H_PARAMETER` |
//! | TCE points inside a page, or has a reserved bit | silent | too hard | ignores the bits | `H_PARAMETER` |
//! | TCE without read and write, whatever its other bits | unmaps | unmaps | unmaps | unmaps |
//! | `STUFF` of more than 512 | `H_P4`, "to aid in client code debug" | no limit | up to the table's size | no limit (1) |
//! | `STUFF` of a TCE with read or write | maps the page everywhere | `H_PARAMETER` | maps it | `H_PARAMETER` (2) |
//!
//! (1) PAPR's reason is the time that a call takes, which the engine bounds by itself; Linux guests before 6.4 clear
//! whole ranges. So a whole window is cleared by one hypercall, and by one kernel call for each
//! [`CALL_TCES_MAX`](crate::plan::CALL_TCES_MAX) TCEs.
//!
//! (2) The same page at many addresses takes a kernel call for each TCE, as many as the guest likes. No guest is known
//! to ask for it.
//!
//! # All or nothing
//!
//! QEMU stops at the first entry of a list that is wrong and leaves those before it set; so does KVM where a table
//! refuses an entry, or the guest has changed the list since KVM checked it. Here nothing is set unless everything can
//! be. PAPR asks for that: `H_PUT_TCE_INDIRECT` translates the whole list before it fills a table, and of a call that
//! answers `H_HARDWARE` "any partial changes to persistent state/data are backed out". What could not be backed out is
//! quarantined, so it answers `H_HARDWARE` from then on, which is PAPR's "detectable corruption". The list is copied
//! once and then checked ("for validation without the potential for caller manipulation"), where KVM reads it twice.
//!
//! # When the engine refuses or fails
//!
//! | the engine | answer | why |
//! |---|---|---|
//! | the lease ended, gave up its range of the window, or its window or container is gone | `H_RESCINDED` | PAPR: the LIOBN "represents a logical resource that has been rescinded by the owner" |
//! | the lease's quota does not hold it, or its edits come too fast | `H_NOT_ENOUGH_RESOURCES` | PAPR's CMO option: more I/O mapped memory "than the caller is entitled to". Linux fails the one DMA mapping and goes on |
//! | more edits than a batch may have | `H_NOT_ENOUGH_RESOURCES` | the guest may ask for less |
//! | more access than the lease allows | `H_PARAMETER` | as asked for, it can never be |
//! | quarantine, a kernel call that failed, memory that is not registered or not in large enough pages, … | `H_HARDWARE` | the guest asked for nothing wrong; every caller "must be prepared" for it |
//!
//! Linux guests only log most of these codes and go on as if the mapping were there, so a device then meets an unmapped
//! address. The whole error is in [`Failure`], for the VMM's log.
//!
//! # What `H_GET_TCE` says
//!
//! What is mapped, from the engine's table, in the guest's own addresses. Memory that the guest does not know is
//! `H_PARTIAL`, as in PAPR. The address bits of a TCE that maps nothing are not kept: it reads as 0.

mod bus;
mod hypercall;
mod memory;
mod refusal;
mod reply;
mod serve;
mod tce;
mod translate;

pub(crate) use self::translate::edits_of;
pub use self::{
    bus::{BUSES_MAX, Bus, BusRequest, Buses, Liobn},
    hypercall::{Hypercall, LIST_TCES_MAX},
    memory::{GuestMemory, NotGuestMemory, Placement},
    refusal::{BusRefusal, HypercallRefusal},
    reply::{Answer, Failure, ReturnCode},
    tce::GuestTce,
    translate::{Request, Wanted},
};
