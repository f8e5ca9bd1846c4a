//! The interfaces of a component, and which versions of them this host speaks.

use std::fmt;

use semver::Version;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// The WIT package of the interfaces.
pub const PACKAGE: &str = "tce:policy";

/// The version of the package that this host was built with.
#[must_use]
pub const fn spoken_version() -> Version {
    Version::new(0, 2, 0)
}

/// The first version that stays: what was built for it is spoken by every later host of the same major version.
pub(super) const FIRST_TO_STAY: Version = Version::new(0, 2, 0);

/// One of the three decision points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a component can export of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Export {
    /// A decision point.
    Point(Interface),
    /// Its settings.
    Settings,
}

/// The interface of settings.
const SETTINGS: &str = "settings";

impl Export {
    /// Its name in the WIT.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Point(interface) => interface.name(),
            Self::Settings => SETTINGS,
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        let point = Interface::ALL.into_iter().find(|interface| interface.name() == name);
        point.map(Self::Point).or((name == SETTINGS).then_some(Self::Settings))
    }
}

impl fmt::Display for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Export {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Export {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        Self::named(&name).ok_or_else(|| D::Error::custom(format!("no interface {name:?}")))
    }
}

/// An interface as a component exports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported {
    /// Which.
    pub interface: Export,
    /// In which version.
    #[serde(serialize_with = "version_as_text", deserialize_with = "version_from_text")]
    pub version: Version,
}

impl Exported {
    /// Reads the name of an export, such as `tce:policy/page-selection@0.2.0`. `None` if it is none of our interfaces.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (interface, version) =
            name.strip_prefix(PACKAGE)?.strip_prefix('/')?.split_once('@')?;
        Some(Self { interface: Export::named(interface)?, version: version.parse().ok()? })
    }

    /// Whether a host that was built with `host` speaks it.
    pub(super) fn is_spoken_by(&self, host: &Version) -> bool {
        is_spoken_by(&self.version, host)
    }

    /// The name of the export, as it stands in the component.
    pub(super) fn full_name(&self) -> String {
        format!("{PACKAGE}/{self}")
    }
}

impl fmt::Display for Exported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.interface, self.version)
    }
}

/// Whether a host that was built with `host` speaks a version of the package: no earlier than what stays, of the same
/// major version, and of no later minor one, since that may say what the host does not know.
fn is_spoken_by(version: &Version, host: &Version) -> bool {
    version.pre.is_empty()
        && *version >= FIRST_TO_STAY
        && version.major == host.major
        && version.minor <= host.minor
}

/// What a component may import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Import {
    /// The interface that has types only, which asks the host for nothing.
    Types,
    /// A place for lines.
    Log,
}

impl Import {
    /// Reads the name of an import; `None` if it is none that a policy may have, or one of a version that `host` does
    /// not speak.
    pub(super) fn parse(name: &str, host: &Version) -> Option<Self> {
        let (interface, version) =
            name.strip_prefix(PACKAGE)?.strip_prefix('/')?.split_once('@')?;
        if !is_spoken_by(&version.parse().ok()?, host) {
            return None;
        }
        match interface {
            "types" => Some(Self::Types),
            "log" => Some(Self::Log),
            _ => None,
        }
    }
}

fn version_as_text<S: serde::Serializer>(version: &Version, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(version)
}

fn version_from_text<'de, D: Deserializer<'de>>(from: D) -> Result<Version, D::Error> {
    String::deserialize(from)?.parse().map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use semver::Version;

    use super::{Exported, Import};

    #[test]
    fn our_interfaces_are_read_from_export_names() {
        for ours in ["lease-policy@0.2.7", "settings@0.2.0"] {
            let exported = Exported::parse(&format!("tce:policy/{ours}")).expect("ours");
            assert_eq!(exported.to_string(), ours);
            assert_eq!(exported.full_name(), format!("tce:policy/{ours}"));
        }
        for other in [
            "tce:policy/lease-policy",
            "tce:policy/types@0.2.0",
            "tce:policy/lease-policy@one",
            "tce:policyx/lease-policy@0.2.0",
            "wasi:cli/run@0.2.0",
            "lease-policy",
        ] {
            assert_eq!(Exported::parse(other), None, "{other}");
        }
    }

    #[test]
    fn what_stays_is_spoken_by_every_later_host_of_the_same_major_version() {
        for (version, host, spoken) in [
            ("0.2.0", "0.2.0", true),
            ("0.2.9", "0.2.0", true),
            ("0.2.0", "0.2.7", true),
            ("0.2.0", "0.3.0", true),
            ("0.2.5", "0.9.1", true),
            ("0.1.0", "0.2.0", false),
            ("0.2.0-rc1", "0.2.0", false),
            ("0.3.0", "0.2.9", false),
            ("1.0.0", "0.9.0", false),
            ("0.2.0", "1.0.0", false),
            ("1.0.0", "1.4.0", true),
            ("1.5.0", "1.4.0", false),
        ] {
            let exported = Exported::parse(&format!("tce:policy/window-sizing@{version}"));
            let host: Version = host.parse().expect("a version");
            let found = exported.map(|each| each.is_spoken_by(&host));
            assert_eq!(found, Some(spoken), "{version} by {host}");
        }
    }

    #[test]
    fn only_types_and_the_log_may_be_imported() {
        let host = Version::new(0, 2, 0);
        assert_eq!(Import::parse("tce:policy/types@0.2.0", &host), Some(Import::Types));
        assert_eq!(Import::parse("tce:policy/log@0.2.7", &host), Some(Import::Log));
        for other in [
            "tce:policy/page-selection@0.2.0",
            "wasi:io/types@0.2.0",
            "types",
            "tce:policy/log@0.3.0",
            "tce:policy/log@0.2.0-rc.1",
            "tce:policy/types@7.0.0",
            "tce:policy/log",
        ] {
            assert_eq!(Import::parse(other, &host), None, "{other}");
        }
    }
}
