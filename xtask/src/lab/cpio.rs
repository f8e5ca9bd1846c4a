//! Writes an initramfs: a cpio archive in the "newc" format, as the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst` describes it. It does not compress.

use std::io::{self, Write};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const SYMLINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;
const TRAILER: &str = "TRAILER!!!";

pub(crate) struct Archive<W> {
    out: W,
    entries: u32,
}

/// Major and minor number of a device node.
#[derive(Clone, Copy, Default)]
pub(crate) struct Device {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl<W: Write> Archive<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, entries: 0 }
    }

    pub(crate) fn directory(&mut self, name: &str) -> io::Result<()> {
        self.entry(name, DIRECTORY, Device::default(), &[])
    }

    /// A file; every one may be executed, nothing else tells programs apart here.
    pub(crate) fn file(&mut self, name: &str, data: &[u8]) -> io::Result<()> {
        self.entry(name, PROGRAM, Device::default(), data)
    }

    pub(crate) fn symlink(&mut self, name: &str, target: &str) -> io::Result<()> {
        self.entry(name, SYMLINK, Device::default(), target.as_bytes())
    }

    pub(crate) fn character_device(&mut self, name: &str, device: Device) -> io::Result<()> {
        self.entry(name, CHARACTER_DEVICE, device, &[])
    }

    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.entry(TRAILER, 0, Device::default(), &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn entry(&mut self, name: &str, mode: u32, device: Device, data: &[u8]) -> io::Result<()> {
        self.entries += 1;
        let size = |length: usize| u32::try_from(length).map_err(io::Error::other);
        let Device { major, minor } = device;
        // Inode, mode, owner, group, links, time, size, device of the file, device node, name, check.
        let numbers = [self.entries, mode, 0, 0, 1, 0, size(data.len())?];
        let rest = [0, 0, major, minor, size(name.len() + 1)?, 0];
        let mut header = String::from("070701");
        for number in numbers.into_iter().chain(rest) {
            header.push_str(&format!("{number:08x}"));
        }
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(name.as_bytes())?;
        self.out.write_all(b"\0")?;
        self.pad(header.len() + name.len() + 1)?;
        self.out.write_all(data)?;
        self.pad(data.len())
    }

    fn pad(&mut self, written: usize) -> io::Result<()> {
        let zeros = written.next_multiple_of(4) - written;
        self.out.write_all(&[0; 3][..zeros])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_header_a_padded_name_and_padded_data() {
        let mut archive = Archive::new(Vec::new());
        archive.file("a/b", b"12345").unwrap();
        let bytes = archive.finish().unwrap();
        let header = "070701\
             00000001000081ed000000000000000000000001000000000000000500000000\
             00000000000000000000000000000004 00000000"
            .replace(' ', "");
        assert_eq!(&bytes[..110], header.as_bytes());
        assert_eq!(&bytes[110..124], b"a/b\0\0\x0012345\0\0\0");
    }

    #[test]
    fn the_archive_ends_with_the_trailer_and_stays_aligned() {
        let mut archive = Archive::new(Vec::new());
        archive.directory("dev").unwrap();
        archive.symlink("bin/sh", "busybox").unwrap();
        archive.character_device("dev/console", Device { major: 5, minor: 1 }).unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        assert!(bytes.windows(TRAILER.len()).any(|part| part == TRAILER.as_bytes()));
    }
}
