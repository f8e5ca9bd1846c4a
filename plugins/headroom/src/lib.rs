//! For memory that grows: a small first window, and room for a second one with room to spare.
//!
//! - **Windows.** One window for all regions, the smallest that holds them as they are now. The growth that the demand
//!   expects is not part of it. Slot 0 is preferred, below the reserved ranges, so that slot 1, which is high and has
//!   none, stays free.
//! - **Growth.** A lease that has become too small gets a window of several times its new size, so that it does not
//!   have to move again soon: as much as the setting `headroom` says, or as much less as the locked memory left
//!   commands. The lease moves without a gap, its first window goes, and that slot is free for the next time.
//!
//! Page sizes are for another policy. One that uses both slots from the start leaves none for growth and is refused.
//!
//! # Settings
//!
//! | key | value | meaning |
//! |---|---|---|
//! | `headroom` | a number from 1 to 1024, `4` by default | How many times the new size of a lease its new window shall have at most. |
//! | `memory-share` | a percentage from 1 to 100, `50` by default | How much of the locked memory left the table of a new window may take, if there is a smaller one. |

#![forbid(unsafe_code)]

use tce_policy_sdk::{
    Size,
    reading::{problems, read},
    settings::{SettingDescription, SettingProblem, Settings},
    types::{Bytes, Refusal, RefusalReason, Setting},
    window_sizing::{Candidate, GrowthQuestion, WindowChoice, WindowQuestion, WindowSizing},
};

const HEADROOM: &str = "headroom";
const HEADROOM_DEFAULT: u64 = 4;
const HEADROOM_MAX: u64 = 1024;
const A_FACTOR: &str = "a number from 1 to 1024";
const MEMORY_SHARE: &str = "memory-share";
const MEMORY_SHARE_DEFAULT: u64 = 50;
const A_PERCENTAGE: &str = "a percentage from 1 to 100";

/// The policy.
#[derive(Clone, Copy, Debug)]
pub struct Headroom;

tce_policy_sdk::export_policy!(Headroom: WindowSizing, Settings);

impl WindowSizing for Headroom {
    fn size_windows(question: WindowQuestion) -> Result<Vec<WindowChoice>, Refusal> {
        let [choice] = question.pages.as_slice() else {
            let detail = "two page sizes would take both slots, and leave none for growth";
            return Err(Refusal::new(RefusalReason::Window, detail));
        };
        let regions = question.regions_of(choice);
        let suits = |each: &&Candidate| {
            each.page == choice.page && each.holds(&question.facts, &regions, 0)
        };
        let rank = |each: &Candidate| (each.slot, each.size, each.levels, each.charge);
        let wanted = format!(
            "a window for {} in pages of {}",
            Size(question.demand.bytes()),
            Size::of_page(choice.page)
        );
        let candidates = question.candidates.iter().filter(suits);
        let chosen = question.first_affordable(candidates, rank, &wanted)?;
        Ok(vec![chosen.choose(&choice.regions)])
    }

    fn grow(question: GrowthQuestion) -> Result<Candidate, Refusal> {
        let rules = Rules::read(&question.settings)?;
        let left = question.facts.locked_memory.left();
        let affordable = || question.candidates.iter().filter(|each| each.charge <= left);
        let with_room = affordable().filter(|each| rules.allow(each, question.size, left));
        // The largest that is wanted; else the cheapest that can be.
        let chosen = with_room
            .max_by_key(|each| (each.size, u8::MAX - each.levels, Bytes::MAX - each.charge))
            .or_else(|| affordable().min_by_key(|each| (each.charge, each.size, each.levels)));
        chosen.cloned().ok_or_else(|| {
            Refusal::new(
                RefusalReason::Memory,
                format!(
                    "no window for a lease of {} fits the {} of locked memory left",
                    Size(question.size),
                    Size(left)
                ),
            )
        })
    }
}

/// What the operator set.
struct Rules {
    headroom: u64,
    memory_share: u64,
}

impl Rules {
    fn read(settings: &[Setting]) -> Result<Self, SettingProblem> {
        let within =
            |max: u64| move |text: &str| text.parse().ok().filter(|it| (1..=max).contains(it));
        let headroom = read(settings, HEADROOM, A_FACTOR, within(HEADROOM_MAX))?;
        let memory_share = read(settings, MEMORY_SHARE, A_PERCENTAGE, within(100))?;
        Ok(Self {
            headroom: headroom.unwrap_or(HEADROOM_DEFAULT),
            memory_share: memory_share.unwrap_or(MEMORY_SHARE_DEFAULT),
        })
    }

    /// Whether a candidate is no larger and no dearer than is wanted for a lease of this size.
    fn allow(&self, candidate: &Candidate, size: Bytes, left: Bytes) -> bool {
        candidate.size <= size.saturating_mul(self.headroom)
            && u128::from(candidate.charge) * 100
                <= u128::from(left) * u128::from(self.memory_share)
    }
}

impl Settings for Headroom {
    fn describe_settings() -> Vec<SettingDescription> {
        let times = "how many times its new size the new window of a lease has at most";
        let share =
            "how much of the locked memory left its table may take, if there is a smaller one";
        vec![
            SettingDescription::new(HEADROOM, A_FACTOR, times).or("4"),
            SettingDescription::new(MEMORY_SHARE, A_PERCENTAGE, share).or("50"),
        ]
    }

    fn check_settings(settings: &[Setting]) -> Vec<SettingProblem> {
        problems(settings, Rules::read)
    }
}
