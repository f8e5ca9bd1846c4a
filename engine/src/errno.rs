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

            /// The errno of this name, such as `EINVAL`.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $(stringify!($name) => Some(Self($value)),)*
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
    ERANGE 34 "numerical result out of range"
    ENOSYS 38 "function not implemented"
    EBADFD 77 "file descriptor in bad state"
}

impl Errno {
    /// Its name, if it has one here.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        match self.describe() {
            Some((name, _)) => Some(name),
            None => None,
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.describe() {
            Some((name, meaning)) => write!(f, "{name} ({meaning})"),
            None => write!(f, "errno {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_back_to_its_number() {
        for number in 0..200 {
            let errno = Errno(number);
            assert_eq!(errno.name().map_or(Some(errno), Errno::from_name), Some(errno));
        }
        assert_eq!(Errno::from_name("EINVAL"), Some(Errno::EINVAL));
        assert_eq!(Errno::from_name("EWHATEVER"), None);
    }
}
