//! What can be answered in place of the truth.

use fastrand::Rng;
use tce_host::policy::{
    Answer, Broken, Question,
    wit::{Access, PageChoice, Refusal, RefusalReason, WindowChoice},
};

use crate::liar::{Told, Truth, trap};

mod leases;
mod windows;

/// An answer, and what is known of it.
pub(crate) type Lie = (Truth, &'static str, Answer);

/// What nobody has heard of.
pub(crate) const UNKNOWN: u32 = 4_000_000_007;

/// The truth, as one tells it.
pub(crate) fn truth(question: &Question, honest: Answer) -> Told {
    told(question, (Truth::True, "truth", honest))
}

fn told(question: &Question, (truth, what, answer): Lie) -> Told {
    Told { function: question.function(), truth, what, result: Ok(answer) }
}

/// Half of the time the truth, then what is almost valid, then what is absurd; now and then a no.
pub(crate) fn tell(question: &Question, honest: Answer, random: &mut Rng) -> Told {
    let is_list = matches!(question, Question::Reclaim(_) | Question::GroupLeaves(_));
    // Somebody else is in the way: they will be asked to go.
    if let (Question::Admit(question), Answer::Refused(_), 0..9) =
        (question, &honest, random.u8(..10))
    {
        return told(&Question::Admit(question.clone()), leases::generous(question));
    }
    match random.u8(..100) {
        0..45 => truth(question, honest),
        45..47 if !is_list => told(question, (Truth::True, "no", refusal())),
        47..52 => broken(question, random),
        52..57 => told(question, (Truth::Lie, "other type", other_type(question, random))),
        _ => match spoilt(question, honest.clone(), random) {
            Some(lie) => told(question, lie),
            None => truth(question, honest),
        },
    }
}

fn refusal() -> Answer {
    Answer::Refused(Refusal { reason: RefusalReason::Other, detail: "no\n\u{1b}[2J".to_owned() })
}

fn broken(question: &Question, random: &mut Rng) -> Told {
    let what = "its worker was killed".to_owned();
    let broken = match random.u8(..4) {
        0 => trap(),
        1 => Broken::OutOfFuel { budget: 1 },
        2 => Broken::Timeout { millis: 1 },
        _ => Broken::WorkerDied { what },
    };
    Told { function: question.function(), truth: Truth::Lie, what: "breakage", result: Err(broken) }
}

/// An answer to another question.
fn other_type(question: &Question, random: &mut Rng) -> Answer {
    let pages = Answer::Pages(vec![PageChoice { page: 12, regions: vec![0] }]);
    let leases = Answer::Leases(vec![0]);
    match question {
        Question::SelectPages(_) => leases,
        Question::Reclaim(_) | Question::GroupLeaves(_) if random.bool() => refusal(),
        _ => pages,
    }
}

/// The answer, spoilt; `None` if there is nothing to spoil.
fn spoilt(question: &Question, honest: Answer, random: &mut Rng) -> Option<Lie> {
    match (question, honest) {
        (Question::SelectPages(question), Answer::Pages(pages)) => {
            windows::pages(question, pages, random)
        }
        (Question::SizeWindows(question), Answer::Windows(windows)) => {
            windows::windows(question, windows, random)
        }
        (Question::Grow(question), Answer::Window(window)) => {
            Some(windows::growth(question, window, random))
        }
        (Question::Admit(question), Answer::Terms(terms)) => {
            Some(leases::admitted(question, terms, random))
        }
        (Question::Renew(question), Answer::Terms(terms)) => {
            Some(leases::renewed(question, terms, random))
        }
        (Question::Reclaim(question), Answer::Leases(_)) => {
            Some(leases::ending(&question.leases, random))
        }
        (Question::GroupLeaves(question), Answer::Leases(_)) => {
            Some(leases::ending(&question.leases, random))
        }
        _ => None,
    }
}

/// The regions of a choice, of which one is lost, doubled or made up.
pub(crate) fn spoil_regions(regions: &mut Vec<u32>, random: &mut Rng) -> &'static str {
    match random.u8(..3) {
        0 => {
            regions.pop();
            "region missing"
        }
        1 => {
            regions.extend(regions.first().copied());
            "region twice"
        }
        _ => {
            regions.push(UNKNOWN);
            "region unknown"
        }
    }
}

/// More access than there was.
pub(crate) const fn widened(access: Access) -> Option<Access> {
    match access {
        Access::Read | Access::Write => Some(Access::ReadWrite),
        Access::ReadWrite => None,
    }
}

/// A choice of no window.
pub(crate) fn absurd_windows(random: &mut Rng) -> Vec<WindowChoice> {
    let window = |random: &mut Rng| WindowChoice {
        slot: random.u8(..),
        page: random.u8(..),
        size: random.u64(..),
        levels: random.u8(..),
        origin: tce_host::policy::wit::Origin::Created,
        regions: (0..random.u8(..4)).map(|_| random.u32(..)).collect(),
    };
    (0..random.u8(..4)).map(|_| window(random)).collect()
}
