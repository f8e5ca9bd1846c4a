//! Kernel versions, and what depends on them: each quirk with the commit that ended or began it.

/// A Linux version, as far as the backend's behaviour depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelVersion {
    /// `6` of 6.12.117.
    pub major: u16,
    /// `12` of 6.12.117.
    pub minor: u16,
    /// `117` of 6.12.117.
    pub patch: u16,
}

impl KernelVersion {
    /// The version with these numbers.
    #[must_use]
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self { major, minor, patch }
    }

    /// The version in a release as `uname -r` says it, such as `6.12.107+deb13-powerpc64le`. `None` unless it starts
    /// with at least two numbers.
    #[must_use]
    pub fn parse(release: &str) -> Option<Self> {
        let is_other = |it: char| !it.is_ascii_digit() && it != '.';
        let mut numbers = release.split(is_other).next()?.split('.').map(str::parse);
        let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        let patch = numbers.next().and_then(Result::ok).unwrap_or(0);
        Some(Self::new(major, minor, patch))
    }

    /// Whether `iommu_tce_check_ioba` looks at the number of pages: 0b271f7d7f5e, stable in 7.2.8, 6.12.112, 6.1.189.
    pub(crate) fn checks_unmap_range(self) -> bool {
        match (self.major, self.minor) {
            (6, 1) => self.patch >= 189,
            (6, 12) => self.patch >= 112,
            (7, 2) => self.patch >= 8,
            newer => newer > (7, 2),
        }
    }

    /// Whether VFIO makes nodes for groups: since the DMA ownership of 6.0 not, until 9d67c9433509 and a940904443e4 in
    /// 6.4. That 6.1 is broken was seen; where it began is not known to the minor version.
    pub(crate) fn makes_group_nodes(self) -> bool {
        !(Self::new(6, 0, 0)..Self::new(6, 4, 0)).contains(&self)
    }

    /// Whether a partition has windows of its own to make: f431a8cde7f1, in 6.11.
    pub(crate) fn gives_partitions_windows(self) -> bool {
        self >= Self::new(6, 11, 0)
    }

    /// Whether `spapr_tce_unset_window` may be called for a window that is not set: CVE-2025-21713, fixed in 6.12.13
    /// and 6.13.2.
    pub(crate) fn tolerates_unset_windows(self) -> bool {
        match (self.major, self.minor) {
            (6, 11) => false,
            (6, 12) => self.patch >= 13,
            (6, 13) => self.patch >= 2,
            _ => true,
        }
    }

    /// Whether KVM's link takes devices as well as groups (`KVM_DEV_VFIO_FILE`): since 6.6.
    pub(crate) fn links_take_devices(self) -> bool {
        self >= Self::new(6, 6, 0)
    }

    /// Whether a leaving group takes everybody's TCEs with it: 4ba2fdff2eb1, in 6.11 and 6.10.10.
    pub(crate) fn detach_clears_windows(self) -> bool {
        self >= Self::new(6, 10, 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_three_numbers() {
        let version = KernelVersion::parse;
        assert_eq!(version("6.12.107+deb13-powerpc64le"), Some(KernelVersion::new(6, 12, 107)));
        assert_eq!(version("7.2.12"), Some(KernelVersion::new(7, 2, 12)));
        assert_eq!(version("6.12-rc3"), Some(KernelVersion::new(6, 12, 0)));
        assert_eq!(version("mainline"), None);
        assert_eq!(version("6"), None);
    }

    #[test]
    fn quirks_follow_the_stable_branches() {
        let fixed =
            |major, minor, patch| KernelVersion::new(major, minor, patch).checks_unmap_range();
        assert!(!fixed(6, 12, 111) && fixed(6, 12, 112));
        assert!(!fixed(7, 2, 7) && fixed(7, 2, 8) && fixed(7, 3, 0));
        assert!(!fixed(6, 18, 50) && !fixed(5, 10, 0));
        assert!(!KernelVersion::new(6, 1, 176).detach_clears_windows());
        assert!(KernelVersion::new(6, 12, 107).detach_clears_windows());
        let nodes = |minor| KernelVersion::new(6, minor, 0).makes_group_nodes();
        assert!(!nodes(1) && !nodes(3) && nodes(4));
        assert!(KernelVersion::new(5, 15, 0).makes_group_nodes());
        assert!(!KernelVersion::new(6, 10, 14).gives_partitions_windows());
        assert!(KernelVersion::new(6, 11, 0).gives_partitions_windows());
        let tolerant = |minor, patch| KernelVersion::new(6, minor, patch).tolerates_unset_windows();
        assert!(!tolerant(11, 9) && !tolerant(12, 12) && tolerant(12, 13));
        assert!(!tolerant(13, 1) && tolerant(13, 2) && tolerant(14, 0));
        assert!(!KernelVersion::new(6, 5, 0).links_take_devices());
        assert!(KernelVersion::new(6, 6, 0).links_take_devices());
    }
}
