//! Why a layout cannot be made, or a window cannot go.

use thiserror::Error;

use crate::{
    addr::{Bytes, Iova, PageShift, Pages},
    fault::Fault,
    window::WindowId,
};

/// Why a layout cannot be made, or a window cannot go.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LayoutRefusal {
    /// No window, or more than two.
    #[error("a layout of {0} windows: one or two there must be")]
    WindowCount(usize),
    /// Two windows in one slot, or a slot that is in use.
    #[error("slot {0} is not free")]
    SlotTaken(u8),
    /// The platform has fewer slots.
    #[error("there is no slot {slot}: this container has {windows_max} window(s) at most")]
    NoSuchSlot {
        /// The slot.
        slot: u8,
        /// How many there are.
        windows_max: u8,
    },
    /// A window for slot 1 alone, where slot 0 holds nothing: the kernel would put it into slot 0.
    #[error(
        "slot 0 is empty, and the kernel fills it first: choose slot 0, or a window in each; the default window can be \
         removed after slot 1 is filled"
    )]
    FirstSlotEmpty,
    /// No candidate is like that.
    #[error(
        "the kernel makes no window of {size} with {page} pages and {levels} level(s) in slot {slot}"
    )]
    NoCandidate {
        /// The slot.
        slot: u8,
        /// The page.
        page: PageShift,
        /// The size.
        size: Bytes,
        /// The levels.
        levels: u8,
    },
    /// A fallback that is no smaller window.
    #[error("a window of {size} cannot fall back to {fallback}: give it a smaller size")]
    FallbackTooLarge {
        /// The size.
        size: Bytes,
        /// What was to be tried after it.
        fallback: Bytes,
    },
    /// Two windows of which the platform makes only one. The firmware would refuse the second, and the kernel would
    /// never ask it for another (`failed_ddw_pdn_list`).
    #[error(
        "this platform makes one dynamic window only: the other must be in slot 0 with 4K pages and no larger than the default window"
    )]
    TwoDynamicWindows,
    /// A dynamic window of a partition stands. The kernel would fail the call with `EPERM` and keep its charge.
    #[error("a partition's kernel makes no window beside its dynamic one: remove that first")]
    BesideDynamic,
    /// The firmware has no dynamic windows ([`crate::facts::Creatable::DefaultLike`]).
    #[error(
        "the firmware of this partition has no dynamic windows: use the default one, in slot 0 with 4K pages"
    )]
    NoDynamicWindows,
    /// The PE's windows are over ([`crate::facts::Creatable::Nothing`]).
    #[error(
        "the firmware failed to make a window, and the kernel asks it for none any more (failed_ddw_pdn_list): boot \
         the partition anew"
    )]
    GivenUp,
    /// More TCEs than the firmware has for a dynamic window, as far as that is known before it is asked.
    #[error(
        "a window of {size} with {page} pages has too many TCEs: the largest dynamic window of this partition has \
         {tces_max}; choose a smaller size or larger pages"
    )]
    DynamicTooLarge {
        /// The size.
        size: Bytes,
        /// The page.
        page: PageShift,
        /// The most TCEs it can have.
        tces_max: Pages,
    },
    /// More TCEs than the firmware had when it was asked. That was found out by a call, which the kernel goes on
    /// charging for.
    #[error(
        "the firmware has no room for a window of {size} with {page} pages ({fault}); what such attempts have locked \
         stays locked until the process ends, {leaked} by now: choose a smaller size or larger pages, give the window \
         a fallback, or configure the most TCEs a dynamic window can have"
    )]
    FirmwareHasLess {
        /// The size.
        size: Bytes,
        /// The page.
        page: PageShift,
        /// What all failed attempts of this engine's have leaked.
        leaked: Bytes,
        /// The call.
        fault: Box<Fault>,
    },
    /// Memory whose backing is smaller than the window's page.
    #[error("memory in {backing} pages cannot be mapped in a window of {page} pages")]
    PageTooLarge {
        /// The memory's page.
        backing: PageShift,
        /// The window's page.
        page: PageShift,
    },
    /// The window cannot hold the memory.
    #[error(
        "{needed} of memory, each region in one piece, do not fit a window of {size} of which {usable} can be used"
    )]
    NoRoom {
        /// What it shall hold, in whole pages of the window.
        needed: Bytes,
        /// The window's size.
        size: Bytes,
        /// What of it is not reserved, in whole pages.
        usable: Bytes,
    },
    /// Memory that must be at an address where the window is not, or that is reserved.
    #[error("memory at {at} cannot be in the window of {size} at {start}")]
    Unreachable {
        /// Where it must be.
        at: Iova,
        /// Where the window starts.
        start: Iova,
        /// The window's size.
        size: Bytes,
    },
    /// The limit would not hold the tables.
    #[error(
        "the tables lock {needed} more and {charged} are locked already, but the limit is {limit}"
    )]
    LockedMemory {
        /// What the calls would charge.
        needed: Bytes,
        /// What is charged.
        charged: Bytes,
        /// The limit.
        limit: Bytes,
    },
    /// The window is gone.
    #[error("{0} is gone")]
    NoWindow(WindowId),
    /// Leases are on it.
    #[error("{window} has {leases} lease(s): revoke them first")]
    Leased {
        /// The window.
        window: WindowId,
        /// How many leases have not ended.
        leases: usize,
    },
    /// The default window is a window of a layout.
    #[error("the default window is in use as {0}: remove that window first")]
    DefaultInUse(WindowId),
    /// There is no default window: it was removed, or a window took its place.
    #[error("there is no default window: it was removed already, or a window is in its place")]
    NoDefaultWindow,
}
