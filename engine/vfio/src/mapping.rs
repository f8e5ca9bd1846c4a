//! One mapping of this process, made to be shared with devices.
//!
//! There is never a Rust reference into it, since a device may write at any time: bytes go in and
//! out by volatile accesses through raw pointers.
#![expect(unsafe_code, reason = "mmap, and memory that devices write")]

use std::{
    fs::File,
    num::NonZeroUsize,
    os::fd::OwnedFd,
    ptr::{self, NonNull},
    sync::{Mutex, PoisonError},
};

use nix::sys::{
    memfd::{MFdFlags, memfd_create},
    mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous, munmap},
};
use tce_engine::{
    addr::{Bytes, HostAddr, PageShift},
    errno::Errno,
    machine::{Backing, MemoryRequest},
};

use crate::descriptors::{errno_of, from_nix};

/// How often an aligned place is looked for, should other threads keep taking what was found.
const PLACEMENT_TRIES_MAX: u32 = 16;
/// Held while an aligned place is found and taken.
static PLACING: Mutex<()> = Mutex::new(());

/// Mapped memory, all its pages present. Dropping it unmaps it.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    size: NonZeroUsize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is only read and written by
// volatile accesses.
unsafe impl Send for Mapping {}
// SAFETY: as above. Threads that write the same bytes at once are no worse than the device that may
// do so anyway.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps fresh memory, filled with zeros, and makes every page present. `EINVAL` unless the size
    /// is whole pages of the backing, and not zero; `ENOMEM` where there is too little, of huge
    /// pages as well.
    pub(crate) fn new(request: &MemoryRequest, system_page: PageShift) -> Result<Self, Errno> {
        let page = match request.backing {
            Backing::Anonymous | Backing::Memfd => system_page,
            Backing::Hugetlb(shift) => shift,
        };
        if !request.size.is_multiple_of(page) {
            return Err(Errno::EINVAL);
        }
        let size = to_usize(request.size)?;
        let source = Source::new(request.backing, request.size)?;
        let mapping = if request.align <= page {
            source.map(None, size)?
        } else {
            source.map_aligned(size, to_usize(request.align.bytes())?)?
        };
        mapping.keep_from_children()?;
        mapping.populate()?;
        Ok(mapping)
    }

    /// Its first byte's address.
    pub(crate) fn address(&self) -> HostAddr {
        HostAddr::new(to_u64(self.start.addr().get()))
    }

    /// Its size.
    pub(crate) fn size(&self) -> Bytes {
        Bytes::new(to_u64(self.size.get()))
    }

    /// Copies bytes out.
    ///
    /// # Panics
    /// If the range does not lie inside.
    pub(crate) fn read(&self, offset: Bytes, bytes: &mut [u8]) {
        let from = self.at(offset, bytes.len());
        let head = from.align_offset(size_of::<u64>()).min(bytes.len());
        let (first, rest) = bytes.split_at_mut(head);
        let (words, last) = rest.as_chunks_mut::<{ size_of::<u64>() }>();
        let tail = head + size_of_val(words);
        // SAFETY: `at` has made sure that all of `bytes.len()` bytes from `from` on lie in the
        // mapping, which lives as long as `self`; the words start where `align_offset`
        // found an aligned address. Volatile, because a device may write them meanwhile;
        // any bytes are valid.
        unsafe {
            for (i, byte) in first.iter_mut().enumerate() {
                *byte = ptr::read_volatile(from.add(i));
            }
            for (i, word) in words.iter_mut().enumerate() {
                *word = ptr::read_volatile(from.add(head).cast::<u64>().add(i)).to_ne_bytes();
            }
            for (i, byte) in last.iter_mut().enumerate() {
                *byte = ptr::read_volatile(from.add(tail + i));
            }
        }
    }

    /// Copies bytes in.
    ///
    /// # Panics
    /// If the range does not lie inside.
    pub(crate) fn write(&self, offset: Bytes, bytes: &[u8]) {
        let to = self.at(offset, bytes.len());
        let head = to.align_offset(size_of::<u64>()).min(bytes.len());
        let (first, rest) = bytes.split_at(head);
        let (words, last) = rest.as_chunks::<{ size_of::<u64>() }>();
        let tail = head + size_of_val(words);
        // SAFETY: as in `read`; nobody holds a reference into the mapping, so writing it disturbs
        // none.
        unsafe {
            for (i, byte) in first.iter().enumerate() {
                ptr::write_volatile(to.add(i), *byte);
            }
            for (i, word) in words.iter().enumerate() {
                ptr::write_volatile(to.add(head).cast::<u64>().add(i), u64::from_ne_bytes(*word));
            }
            for (i, byte) in last.iter().enumerate() {
                ptr::write_volatile(to.add(tail + i), *byte);
            }
        }
    }

    /// The address of a range that must lie inside.
    fn at(&self, offset: Bytes, length: usize) -> *mut u8 {
        let offset = usize::try_from(offset.raw()).unwrap_or(usize::MAX);
        let inside = offset.checked_add(length).is_some_and(|end| end <= self.size.get());
        assert!(inside, "{length} bytes at {offset} are outside of a mapping of {}", self.size);
        // SAFETY: `offset` is at most the mapping's size.
        unsafe { self.start.as_ptr().add(offset) }
    }

    /// A child process does not get the memory: what a device works on has one owner, and copies of pinned pages cost
    /// as much as the pages.
    fn keep_from_children(&self) -> Result<(), Errno> {
        // SAFETY: it is our mapping, whole, and the advice changes nothing in this process.
        unsafe { madvise(self.start.cast(), self.size.get(), MmapAdvise::MADV_DONTFORK) }
            .map_err(from_nix)
    }

    fn populate(&self) -> Result<(), Errno> {
        // SAFETY: it is our mapping, whole, and faulting its pages in changes no byte.
        unsafe { madvise(self.start.cast(), self.size.get(), MmapAdvise::MADV_POPULATE_WRITE) }
            .map_err(from_nix)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it is our mapping, whole; nothing refers to it but this value. It cannot fail for
        // a range that was mapped as one.
        let _ = unsafe { munmap(self.start.cast(), self.size.get()) };
    }
}

/// Where the pages come from.
enum Source {
    Anonymous(MapFlags),
    Memfd(OwnedFd),
}

impl Source {
    fn new(backing: Backing, size: Bytes) -> Result<Self, Errno> {
        match backing {
            Backing::Anonymous => Ok(Self::Anonymous(MapFlags::empty())),
            Backing::Hugetlb(shift) => Ok(Self::Anonymous(huge_page_flags(shift)?)),
            Backing::Memfd => {
                let fd = memfd_create("tce", MFdFlags::MFD_CLOEXEC).map_err(from_nix)?;
                let file = File::from(fd);
                file.set_len(size.raw()).map_err(errno_of)?;
                Ok(Self::Memfd(file.into()))
            }
        }
    }

    /// Maps it at a free place, or at exactly this one if it is free; `EEXIST` if it is not.
    fn map(&self, place: Option<NonZeroUsize>, size: NonZeroUsize) -> Result<Mapping, Errno> {
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let fixed = place.map_or(MapFlags::empty(), |_| MapFlags::MAP_FIXED_NOREPLACE);
        // SAFETY: a new mapping, which replaces none (`MAP_FIXED_NOREPLACE`); the file, if any, is
        // our own.
        let start = unsafe {
            match self {
                Self::Anonymous(flags) => {
                    mmap_anonymous(place, size, access, *flags | MapFlags::MAP_PRIVATE | fixed)
                }
                Self::Memfd(file) => {
                    mmap(place, size, access, MapFlags::MAP_SHARED | fixed, file, 0)
                }
            }
        };
        Ok(Mapping { start: start.map_err(from_nix)?.cast(), size })
    }

    /// Maps it at a multiple of `align`, which is a power of two above its page.
    fn map_aligned(&self, size: NonZeroUsize, align: NonZeroUsize) -> Result<Mapping, Errno> {
        // One at a time: threads that placed mappings at once would be shown the same place again and again.
        let _placing = PLACING.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..PLACEMENT_TRIES_MAX {
            match self.map(Some(self.find_place(size, align)?), size) {
                Err(Errno::EEXIST) => {}
                mapped => return mapped,
            }
        }
        Err(Errno::ENOMEM)
    }

    /// An aligned address with `size` free bytes behind it, as long as no other thread takes them:
    /// a larger mapping, without pages or a reservation of any, is put there and taken away
    /// again.
    fn find_place(&self, size: NonZeroUsize, align: NonZeroUsize) -> Result<NonZeroUsize, Errno> {
        let room = size.checked_add(align.get()).ok_or(Errno::ENOMEM)?;
        let flags = match self {
            Self::Anonymous(flags) => *flags,
            Self::Memfd(_) => MapFlags::empty(),
        };
        let flags = flags | MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: a new mapping at a place of the kernel's choice.
        let start = unsafe { mmap_anonymous(None, room, ProtFlags::PROT_NONE, flags) };
        let room = Mapping { start: start.map_err(from_nix)?.cast(), size: room };
        let place = room.start.addr().get().checked_next_multiple_of(align.get());
        place.and_then(NonZeroUsize::new).ok_or(Errno::ENOMEM)
    }
}

/// `MAP_HUGETLB` with the size of the page, which is all of bits 26 to 31.
fn huge_page_flags(shift: PageShift) -> Result<MapFlags, Errno> {
    MapFlags::map_hugetlb_with_size_log2(shift.raw().into()).ok_or(Errno::EINVAL)
}

fn to_usize(size: Bytes) -> Result<NonZeroUsize, Errno> {
    usize::try_from(size.raw()).ok().and_then(NonZeroUsize::new).ok_or(Errno::EINVAL)
}

#[expect(clippy::as_conversions, reason = "usize is 64 bits wide wherever this backend exists")]
const fn to_u64(size: usize) -> u64 {
    const { assert!(size_of::<usize>() == size_of::<u64>()) };
    size as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(backing: Backing, size: Bytes, align: PageShift) -> Result<Mapping, Errno> {
        Mapping::new(&MemoryRequest { size, backing, align }, PageShift::K4)
    }

    #[test]
    fn every_backing_starts_as_zeros() {
        for backing in [Backing::Anonymous, Backing::Memfd] {
            let mapping = map(backing, Bytes::kib(256), PageShift::K4).unwrap();
            assert_eq!(mapping.size(), Bytes::kib(256));
            let mut bytes = vec![1; 256 << 10];
            mapping.read(Bytes::ZERO, &mut bytes);
            assert!(bytes.iter().all(|byte| *byte == 0), "{backing}");
        }
    }

    #[test]
    fn alignment_is_kept_beyond_the_backing_page() {
        for align in [PageShift::K4, PageShift::K64, PageShift::M16, PageShift::G1] {
            for backing in [Backing::Anonymous, Backing::Memfd] {
                let mapping = map(backing, Bytes::kib(64), align).unwrap();
                assert!(mapping.address().is_aligned(align), "{backing} by {align}");
            }
        }
    }

    #[test]
    fn many_threads_find_aligned_places_at_once() {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        map(Backing::Anonymous, Bytes::kib(4), PageShift::M16).unwrap();
                    }
                });
            }
        });
    }

    #[test]
    fn sizes_are_whole_pages_of_the_backing() {
        let refused = [
            (Backing::Anonymous, Bytes::ZERO),
            (Backing::Anonymous, Bytes::new(4097)),
            (Backing::Memfd, Bytes::new(100)),
            (Backing::Hugetlb(PageShift::M2), Bytes::mib(1)),
        ];
        for (backing, size) in refused {
            assert_eq!(map(backing, size, PageShift::K4).err(), Some(Errno::EINVAL), "{size}");
        }
    }

    #[test]
    fn more_than_there_is_cannot_be_had() {
        let refused = map(Backing::Anonymous, Bytes::new(1 << 60), PageShift::K4);
        assert_eq!(refused.err(), Some(Errno::ENOMEM));
    }

    #[test]
    fn no_bit_of_a_huge_page_size_is_lost() {
        let bits = |shift| {
            let flags = huge_page_flags(shift).unwrap() & !MapFlags::MAP_HUGETLB;
            flags.bits().cast_unsigned() >> nix::libc::MAP_HUGE_SHIFT
        };
        assert_eq!(bits(PageShift::M2), 21);
        assert_eq!(bits(PageShift::M16), 24);
        assert_eq!(bits(PageShift::G1), 30);
        assert_eq!(bits(PageShift::new(34).unwrap()), 34);
        assert_eq!(huge_page_flags(PageShift::K4).err(), Some(Errno::EINVAL));
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_huge_page_size_that_the_machine_has_not_is_refused() {
        let size = PageShift::new(34).unwrap();
        assert_eq!(map(Backing::Hugetlb(size), size.bytes(), size).err(), Some(Errno::EINVAL));
    }

    #[test]
    fn no_access_leaves_the_mapping() {
        let mapping = map(Backing::Anonymous, Bytes::kib(4), PageShift::K4).unwrap();
        let outside = |offset, length: usize| {
            let access = std::panic::AssertUnwindSafe(|| {
                mapping.read(Bytes::new(offset), &mut vec![0; length]);
            });
            std::panic::catch_unwind(access).is_err()
        };
        assert!(!outside(4095, 1) && !outside(4096, 0));
        assert!(outside(4095, 2) && outside(4097, 0) && outside(u64::MAX, 1));
    }
}
