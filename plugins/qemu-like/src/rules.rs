//! The settings, and what follows from them.

use tce_policy_sdk::{
    Size,
    reading::read,
    settings::{SettingDescription, SettingProblem},
    types::{PageShift, Region, Setting},
};

use crate::BOOT_END;

const GUEST_PAGE: &str = "guest-page";
const GUEST_PAGE_DEFAULT: PageShift = 16;
const A_PAGE: &str = "a page such as 64K, or its shift such as 16";
const DDW: &str = "ddw";
const ON_OR_OFF: &str = "on or off";

/// Whether there is a second window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DynamicWindows {
    /// The guest may ask for one.
    On,
    /// All memory is in the boot window.
    Off,
}

/// What the operator set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// The largest page of the guest's IOMMU.
    pub(crate) guest_page: PageShift,
    /// Whether there is a second window.
    pub(crate) ddw: DynamicWindows,
}

impl Rules {
    pub(crate) fn read(settings: &[Setting]) -> Result<Self, SettingProblem> {
        let guest_page = read(settings, GUEST_PAGE, A_PAGE, Size::page_of)?;
        let ddw = read(settings, DDW, ON_OR_OFF, |text| match text {
            "on" => Some(DynamicWindows::On),
            "off" => Some(DynamicWindows::Off),
            _ => None,
        })?;
        Ok(Self {
            guest_page: guest_page.unwrap_or(GUEST_PAGE_DEFAULT),
            ddw: ddw.unwrap_or(DynamicWindows::On),
        })
    }

    /// Whether a region belongs into the boot window.
    pub(crate) fn is_for_boot(&self, region: &Region) -> bool {
        let end = region.at.map(|at| at.saturating_add(region.size));
        self.ddw == DynamicWindows::Off || end.is_some_and(|end| end <= BOOT_END)
    }
}

pub(crate) fn describe() -> Vec<SettingDescription> {
    vec![
        SettingDescription::new(GUEST_PAGE, A_PAGE, "the largest page of the guest's own IOMMU")
            .or("64K"),
        SettingDescription::new(DDW, ON_OR_OFF, "whether the guest may ask for a second window")
            .or("on"),
    ]
}
