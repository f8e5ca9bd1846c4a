//! Pages that a file of the kernel's shares with this process: a virtual processor's, a guest's TCE table.
//!
//! The kernel writes them at any time, so there is never a Rust reference into them: words go in and out by volatile
//! accesses.
#![expect(unsafe_code, reason = "mmap, and memory that the kernel writes")]

use std::{
    num::NonZeroUsize,
    ptr::{self, NonNull},
};

use nix::{
    libc::off_t,
    sys::mman::{MapFlags, ProtFlags, mmap, munmap},
};
use tce_engine::errno::Errno;

use crate::descriptors::{Descriptor, Sort, from_nix};

/// Mapped pages. Dropping them unmaps them.
#[derive(Debug)]
pub(crate) struct Pages {
    start: NonNull<u8>,
    size: NonZeroUsize,
}

/// What is done with pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// They are read.
    Read,
    /// They are written as well.
    ReadWrite,
}

// SAFETY: the mapping belongs to the process, not to a thread.
unsafe impl Send for Pages {}

impl Pages {
    /// Maps pages of a file. `ENODEV` for one that is neither a virtual processor nor a guest's table: those alone are
    /// known to have every page that their makers say they have.
    pub(crate) fn map(file: &Descriptor, offset: u64, size: u64, how: Use) -> Result<Self, Errno> {
        if !matches!(file.sort(), Sort::VirtualProcessor | Sort::GuestTable) {
            return Err(Errno::ENODEV);
        }
        let size = usize::try_from(size).ok().and_then(NonZeroUsize::new).ok_or(Errno::EINVAL)?;
        let offset = off_t::try_from(offset).map_err(|_| Errno::EINVAL)?;
        let access = match how {
            Use::Read => ProtFlags::PROT_READ,
            Use::ReadWrite => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
        };
        // SAFETY: a new mapping at a place of the kernel's choice.
        let start = unsafe { mmap(None, size, access, MapFlags::MAP_SHARED, file.file(), offset) };
        Ok(Self { start: start.map_err(from_nix)?.cast(), size })
    }

    /// A word of 8 bytes, in the machine's order.
    ///
    /// # Panics
    /// If it does not lie inside, aligned.
    pub(crate) fn word(&self, offset: usize) -> u64 {
        // SAFETY: `at` has made sure that the word lies in the mapping, which lives as long as `self`, and is aligned.
        unsafe { ptr::read_volatile(self.at::<u64>(offset)) }
    }

    /// A word of 4 bytes, in the machine's order.
    ///
    /// # Panics
    /// If it does not lie inside, aligned.
    pub(crate) fn half(&self, offset: usize) -> u32 {
        // SAFETY: as in `word`.
        unsafe { ptr::read_volatile(self.at::<u32>(offset)) }
    }

    /// Writes a word of 8 bytes into pages that are mapped for it.
    ///
    /// # Panics
    /// If it does not lie inside, aligned.
    pub(crate) fn set_word(&mut self, offset: usize, value: u64) {
        // SAFETY: as in `word`; nobody holds a reference into the mapping. Where it is not mapped for writing the process
        // gets a signal, which is no undefined behaviour.
        unsafe { ptr::write_volatile(self.at::<u64>(offset), value) }
    }

    /// The address of a value that must lie inside, aligned. Pages are aligned to more than any value is.
    fn at<T>(&self, offset: usize) -> *mut T {
        let inside = offset.checked_add(size_of::<T>()).is_some_and(|end| end <= self.size.get());
        assert!(inside && offset.is_multiple_of(align_of::<T>()), "{offset} is not in the pages");
        // SAFETY: `offset` is less than the mapping's size.
        unsafe { self.start.as_ptr().add(offset).cast() }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: it is our mapping, whole; nothing refers to it but this value.
        let _ = unsafe { munmap(self.start.cast(), self.size.get()) };
    }
}
