//! The interfaces a policy can implement, and which versions of them this host speaks.

use std::fmt;

use semver::Version;
use serde::Serialize;

/// The WIT package of the interfaces.
pub const PACKAGE: &str = "tce:policy";

/// The version of the package that this host speaks. It also takes components built for another patch of it.
#[must_use]
pub const fn spoken_version() -> Version {
    Version::new(0, 1, 0)
}

/// One of the three decision points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interface {
    /// Which page size shall a window have?
    PageSelection,
    /// Which windows shall there be?
    WindowSizing,
    /// Who may use a window?
    LeasePolicy,
}

impl Interface {
    /// All of them, in the order in which they are asked.
    pub const ALL: [Self; 3] = [Self::PageSelection, Self::WindowSizing, Self::LeasePolicy];

    /// Its name in the WIT.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PageSelection => "page-selection",
            Self::WindowSizing => "window-sizing",
            Self::LeasePolicy => "lease-policy",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|interface| interface.name() == name)
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An interface as a component exports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Which.
    pub interface: Interface,
    /// In which version.
    #[serde(serialize_with = "version_as_text")]
    pub version: Version,
}

impl Exported {
    /// Reads the name of an export, such as `tce:policy/page-selection@0.1.0`. `None` if it is none of our interfaces.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (interface, version) =
            name.strip_prefix(PACKAGE)?.strip_prefix('/')?.split_once('@')?;
        Some(Self { interface: Interface::named(interface)?, version: version.parse().ok()? })
    }

    /// Whether this host speaks the version: below 1.0.0 versions that differ in the second number are strangers.
    pub(super) fn is_spoken(&self) -> bool {
        let spoken = spoken_version();
        self.version.pre.is_empty()
            && (self.version.major, self.version.minor) == (spoken.major, spoken.minor)
    }
}

impl fmt::Display for Exported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.interface, self.version)
    }
}

/// Whether an import is the interface that has types only, which asks the host for nothing.
pub(super) fn is_types_only(import: &str) -> bool {
    import.strip_prefix(PACKAGE).is_some_and(|rest| rest.starts_with("/types@"))
}

fn version_as_text<S: serde::Serializer>(version: &Version, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(version)
}

#[cfg(test)]
mod tests {
    use super::{Exported, is_types_only};

    #[test]
    fn our_interfaces_are_read_from_export_names() {
        let exported = Exported::parse("tce:policy/lease-policy@0.1.7").expect("ours");
        assert_eq!(exported.to_string(), "lease-policy@0.1.7");
        for other in [
            "tce:policy/lease-policy",
            "tce:policy/types@0.1.0",
            "tce:policy/lease-policy@one",
            "tce:policyx/lease-policy@0.1.0",
            "wasi:cli/run@0.2.0",
            "lease-policy",
        ] {
            assert_eq!(Exported::parse(other), None, "{other}");
        }
    }

    #[test]
    fn patches_of_the_version_are_spoken_and_others_are_not() {
        for (version, spoken) in [
            ("0.1.0", true),
            ("0.1.9", true),
            ("0.1.0-rc1", false),
            ("0.2.0", false),
            ("1.1.0", false),
        ] {
            let exported = Exported::parse(&format!("tce:policy/window-sizing@{version}"));
            assert_eq!(exported.map(|each| each.is_spoken()), Some(spoken), "{version}");
        }
    }

    #[test]
    fn only_the_interface_of_types_may_be_imported() {
        assert!(is_types_only("tce:policy/types@0.1.0"));
        assert!(!is_types_only("tce:policy/page-selection@0.1.0"));
        assert!(!is_types_only("wasi:io/types@0.2.0"));
    }
}
