//! The kernel's error numbers, with names.

use std::fmt;

/// An errno, as the kernel gave it. Numbers without a name here keep their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(pub i32);

macro_rules! errnos {
    ($($name:ident $value:literal $meaning:literal)*) => {
        impl Errno {
            $(#[doc = $meaning] pub const $name: Self = Self($value);)*

            /// Its name and meaning, if this project knows them.
            const fn describe(self) -> Option<(&'static str, &'static str)> {
                match self.0 {
                    $($value => Some((stringify!($name), $meaning)),)*
                    _ => None,
                }
            }
        }
    };
}

// The numbers are the same on powerpc and x86.
errnos! {
    EPERM 1 "operation not permitted"
    ENOENT 2 "no such file or directory"
    EINTR 4 "interrupted system call"
    EIO 5 "input/output error"
    ENXIO 6 "no such device or address"
    EBADF 9 "bad file descriptor"
    EAGAIN 11 "resource temporarily unavailable"
    ENOMEM 12 "cannot allocate memory"
    EACCES 13 "permission denied"
    EFAULT 14 "bad address"
    EBUSY 16 "device or resource busy"
    EEXIST 17 "file exists"
    ENODEV 19 "no such device"
    EINVAL 22 "invalid argument"
    EMFILE 24 "too many open files"
    ENOTTY 25 "inappropriate ioctl for device"
    ENOSPC 28 "no space left on device"
    EBADFD 77 "file descriptor in bad state"
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.describe() {
            Some((name, meaning)) => write!(f, "{name} ({meaning})"),
            None => write!(f, "errno {}", self.0),
        }
    }
}
