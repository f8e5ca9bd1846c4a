//! Calls with VFIO's numbers on files that know none, for programs that are recorded in tests.
//!
//! Nothing but a plain file is called, and it answers every such number with `ENOTTY`, without looking at the argument
//! (`vfs_ioctl`).
#![expect(unsafe_code, reason = "ioctl has no safe form")]

use std::{fs::File, os::fd::AsRawFd};

use nix::{
    errno::Errno as NixErrno,
    libc::{self, c_ulong},
    request_code_none,
};
use tce_engine::errno::Errno;
use vfio_bindings::bindings::vfio::{VFIO_BASE, VFIO_TYPE};

use crate::descriptors::{errno_of, from_nix};

/// The argument of a call.
#[derive(Debug)]
pub enum Argument<'a> {
    /// A number.
    Number(u32),
    /// The address of a structure.
    Structure(&'a [u64; 8]),
}

/// A plain file that stands in for one of VFIO's.
#[derive(Debug)]
pub struct PlainFile(File);

impl PlainFile {
    /// Takes a file that is plain.
    ///
    /// # Errors
    /// `EINVAL` if it is not.
    pub fn new(file: File) -> Result<Self, Errno> {
        let is_plain = file.metadata().map_err(errno_of)?.is_file();
        if is_plain { Ok(Self(file)) } else { Err(Errno::EINVAL) }
    }

    /// A copy of the descriptor.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn copy(&self) -> Result<Self, Errno> {
        self.0.try_clone().map(Self).map_err(errno_of)
    }

    /// Makes the call with this number, counted from `VFIO_BASE`. The answer is `ENOTTY`, or `EINVAL` if the number is
    /// none of VFIO's and no call is made.
    pub fn call(&self, number: u8, argument: &Argument) -> Errno {
        self.attempt(number, argument).err().unwrap_or(Errno(0))
    }

    fn attempt(&self, number: u8, argument: &Argument) -> Result<(), Errno> {
        let number = VFIO_BASE.checked_add(u32::from(number)).filter(|number| *number <= 0xff);
        let number = number.ok_or(Errno::EINVAL)?;
        let request = request_code_none!(VFIO_TYPE, 0) | c_ulong::from(number);
        let argument = match argument {
            Argument::Number(number) => c_ulong::from(*number),
            Argument::Structure(words) => {
                c_ulong::try_from(words.as_ptr().expose_provenance()).map_err(|_| Errno::EINVAL)?
            }
        };
        // SAFETY: the descriptor is open, and of a plain file: no file system knows a request of VFIO's type, so the
        // argument is not used at all; it would be the address of 64 live bytes, or a number.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), request, argument) };
        NixErrno::result(result).map(|_| ()).map_err(from_nix)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_plain_file_knows_no_call_of_vfios() -> io::Result<()> {
        let path = std::env::temp_dir().join(format!("tce-rehearse-{}", std::process::id()));
        let file = File::create(&path)?;
        std::fs::remove_file(&path)?;
        let file = PlainFile::new(file).unwrap();
        for number in 0..=21 {
            assert_eq!(file.call(number, &Argument::Structure(&[0; 8])), Errno::ENOTTY);
        }
        assert_eq!(file.call(200, &Argument::Number(0)), Errno::EINVAL);
        Ok(())
    }

    #[test]
    fn nothing_but_a_plain_file_is_called() -> io::Result<()> {
        assert_eq!(PlainFile::new(File::open("/dev/null")?).err(), Some(Errno::EINVAL));
        Ok(())
    }
}
