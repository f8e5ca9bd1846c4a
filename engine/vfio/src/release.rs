//! Kernel releases, and what each is good for.
//!
//! From observation: 6.1 makes no group nodes at all, and 6.12 and 7.2 work. From the kernel's
//! history: 6.4 (9d67c9433509, a940904443e4) mended what generic DMA ownership had broken on POWER.

use std::fmt;

/// The first release whose VFIO works on POWER again.
const FIRST_WORKING: Release = Release::new(6, 4, 0);

/// A kernel release, such as 6.12.107. What a distribution appends to it is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Release {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Release {
    const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Reads what `uname -r` says, such as `6.12.107+deb13-powerpc64le`. `None` unless it starts
    /// with at least two numbers.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let mut numbers = text[..end].split('.').map(str::parse);
        let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        let patch = numbers.next().and_then(Result::ok).unwrap_or(0);
        Some(Self::new(major, minor, patch))
    }

    /// What this release is good for. Distributions mend more than their numbers tell, so a trap
    /// named here may be gone.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        if self < FIRST_WORKING {
            return Verdict::Broken;
        }
        let traps: Vec<_> =
            TRAPS.iter().filter(|trap| trap.is_in(self)).map(|trap| trap.what).collect();
        if traps.is_empty() { Verdict::Good } else { Verdict::Traps(traps) }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// What a kernel release is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// VFIO does not work on POWER: before 6.4.
    Broken,
    /// It works, and has bugs that newer releases have not, each in a few words. The engine steps
    /// into none of those that its own calls could reach.
    Traps(Vec<&'static str>),
    /// No bug is known that a newer release has mended.
    Good,
}

/// A mended bug: in every release from `since` on, except from `fixed` on in the lines that it
/// lists. The last of them is the newest line that is known to have had it.
struct Trap {
    what: &'static str,
    since: Release,
    fixed: &'static [Release],
}

impl Trap {
    fn is_in(&self, release: Release) -> bool {
        let line = |of: &Release| (of.major, of.minor);
        let mended_in_line =
            self.fixed.iter().any(|fix| line(fix) == line(&release) && release >= *fix);
        let mended_before = self.fixed.last().is_some_and(|fix| line(fix) < line(&release));
        release >= self.since && !mended_in_line && !mended_before
    }
}

const TRAPS: &[Trap] = &[
    Trap {
        what: "the host's driver cannot use a device again after VFIO had it",
        since: Release::new(6, 7, 0),
        fixed: &[Release::new(6, 8, 0)],
    },
    Trap {
        what: "attaching a group on pseries can touch a window that was never set (CVE-2025-21713)",
        since: Release::new(6, 11, 0),
        fixed: &[Release::new(6, 12, 13), Release::new(6, 13, 2)],
    },
    Trap {
        what: "the kernel's record of mapped pages leaks on pseries",
        since: Release::new(6, 11, 0),
        fixed: &[Release::new(6, 12, 34)],
    },
    Trap {
        what: "an unmap longer than its window is not refused and can crash the host",
        since: Release::new(6, 4, 0),
        fixed: &[Release::new(6, 12, 112), Release::new(7, 2, 8)],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str) -> Verdict {
        Release::parse(text).unwrap().verdict()
    }

    #[test]
    fn releases_are_read_without_what_distributions_append() {
        let release = |text| Release::parse(text).map(|release| release.to_string());
        assert_eq!(release("6.12.107+deb13-powerpc64le").as_deref(), Some("6.12.107"));
        assert_eq!(release("6.1.0-44-powerpc64le\n").as_deref(), Some("6.1.0"));
        assert_eq!(release("7.3-rc2").as_deref(), Some("7.3.0"));
        assert_eq!(release("6.18.44-fc-v657").as_deref(), Some("6.18.44"));
        assert_eq!(release("linux"), None);
        assert_eq!(release("6"), None);
    }

    #[test]
    fn releases_before_6_4_are_broken() {
        assert_eq!(verdict("6.1.0-44-powerpc64le"), Verdict::Broken);
        assert_eq!(verdict("6.3.13"), Verdict::Broken);
        assert_ne!(verdict("6.4.0"), Verdict::Broken);
    }

    #[test]
    fn a_trap_is_over_where_its_line_mended_it() {
        assert!(matches!(verdict("6.12.111"), Verdict::Traps(traps) if traps.len() == 1));
        assert_eq!(verdict("6.12.112"), Verdict::Good);
        assert!(matches!(verdict("7.2.7"), Verdict::Traps(traps) if traps.len() == 1));
        assert_eq!(verdict("7.2.8"), Verdict::Good);
    }

    #[test]
    fn a_line_that_never_heard_of_the_remedy_keeps_the_trap() {
        assert!(matches!(verdict("6.18.44"), Verdict::Traps(traps) if traps.len() == 1));
        assert!(matches!(verdict("6.7.2"), Verdict::Traps(traps) if traps.len() == 2));
        assert_eq!(verdict("7.3.0"), Verdict::Good);
    }
}
