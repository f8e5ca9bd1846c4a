//! The machine and its kernel.

use tce_engine::addr::PageShift;
use tce_vfio::{Verdict, survey::Survey};

use super::check::{Check, Remedy};

/// The releases to have, in the words of `tce_vfio`'s `OpenError`.
const BEST: &str = "6.4 or newer, best 6.12.112 or 7.2.8";

pub(super) fn platform(survey: &Survey) -> Check {
    const NAME: &str = "platform";
    let machine = &survey.machine;
    match survey.platform {
        Some(platform) => {
            let pages = survey.page_shift.map_or_else(String::new, pages);
            Check::ok(NAME, format!("{platform}, {machine}{pages}"))
        }
        None => Check::missing(
            NAME,
            format!("no POWER machine ({machine}), so it has no TCE tables"),
            Remedy::new(
                "on this machine use --backend sim, which simulates a POWER9; \
                 `cargo xtask lab` boots a real kernel on an emulated one",
            ),
        ),
    }
}

fn pages(page: PageShift) -> String {
    format!(", {page} system pages")
}

pub(super) fn kernel(survey: &Survey) -> Check {
    const NAME: &str = "kernel";
    let release = &survey.kernel;
    match &survey.verdict {
        Some(Verdict::Good) => Check::ok(NAME, format!("{release}, without a known bug")),
        Some(Verdict::Traps(traps)) => Check::warning(
            NAME,
            format!("{release} works, with bugs that newer ones have not:"),
            Remedy::new(
                "update it when you can; our own calls avoid those bugs that they could meet",
            ),
        )
        .with(traps.iter().map(|trap| (*trap).to_owned()).collect()),
        Some(Verdict::Broken) => Check::missing(
            NAME,
            format!("{release}: VFIO does not work on POWER up to 6.3"),
            Remedy::new(format!("boot {BEST}")),
        ),
        None => Check::warning(
            NAME,
            format!("its release ({release:?}) is not understood"),
            Remedy::new(format!("make sure that it is {BEST}")),
        ),
    }
}
