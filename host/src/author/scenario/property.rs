//! Properties of answers: which questions they are of, and what is wrong with an answer that does not have one.

use tce_policy_sdk::Size;

use crate::{
    author::diff,
    policy::{
        Answer, Function, Question,
        wit::{Access, Candidate, WindowChoice},
    },
};

/// A property of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Property {
    /// So many page choices, windows or leases.
    Count(usize),
    /// This page, in each choice or window.
    Page(u8),
    /// Windows in these slots.
    Slots(Vec<u8>),
    /// Windows of at least so many bytes together.
    SizeMin(u64),
    /// Windows of at most so many bytes together.
    SizeMax(u64),
    /// At most so many levels in each window's table.
    LevelsMax(u8),
    /// Full tables of at most so many bytes together.
    TableMax(u64),
    /// A charge of at most so many bytes for all windows together.
    ChargeMax(u64),
    /// This access.
    Access(Access),
    /// At most so many TCEs.
    TcesMax(u64),
    /// A limit on registered memory, of at most so many bytes.
    PinnedMax(u64),
    /// An end, at most so many milliseconds from now.
    LastsMax(u64),
}

impl Property {
    /// Whether answers to this question can have it.
    pub(super) const fn is_of(&self, function: Function) -> bool {
        match self {
            Self::Count(_) => {
                !matches!(function, Function::Grow | Function::Admit | Function::Renew)
            }
            Self::Page(_) => {
                matches!(function, Function::SelectPages | Function::SizeWindows | Function::Grow)
            }
            Self::Slots(_)
            | Self::SizeMin(_)
            | Self::SizeMax(_)
            | Self::LevelsMax(_)
            | Self::TableMax(_)
            | Self::ChargeMax(_) => matches!(function, Function::SizeWindows | Function::Grow),
            Self::Access(_) | Self::TcesMax(_) | Self::PinnedMax(_) | Self::LastsMax(_) => {
                matches!(function, Function::Admit | Function::Renew)
            }
        }
    }

    /// What is wrong with the answer; `None` if it has the property.
    pub(super) fn wrong(&self, question: &Question, answer: &Answer) -> Option<String> {
        match answer {
            Answer::Pages(choices) => match self {
                Self::Page(page) => {
                    let other = choices.iter().map(|it| it.page).find(|it| it != page)?;
                    Some(other_page(other, *page))
                }
                _ => self.wrong_count(choices.len(), "page choices"),
            },
            Answer::Windows(choices) => match self {
                Self::Count(_) => self.wrong_count(choices.len(), "windows"),
                _ => self.wrong_windows(&chosen(question, choices)),
            },
            Answer::Window(candidate) => self.wrong_windows(std::slice::from_ref(candidate)),
            Answer::Terms(terms) => self.wrong_terms(question, terms),
            Answer::Leases(leases) => self.wrong_count(leases.len(), "leases"),
            Answer::Refused(_) => None,
        }
    }

    fn wrong_count(&self, count: usize, what: &str) -> Option<String> {
        match self {
            Self::Count(expected) if *expected != count => {
                Some(format!("{count} {what}, not {expected}"))
            }
            _ => None,
        }
    }

    fn wrong_windows(&self, windows: &[Candidate]) -> Option<String> {
        let sum = |of: fn(&Candidate) -> u64| windows.iter().map(of).fold(0, u64::saturating_add);
        let size = sum(|it| it.size);
        let more = |what: &str, bytes: u64, max: u64| {
            (bytes > max).then(|| format!("{what}: {}, and {} is the most", Size(bytes), Size(max)))
        };
        match self {
            Self::Page(page) => {
                let other = windows.iter().map(|it| it.page).find(|it| it != page)?;
                Some(other_page(other, *page))
            }
            Self::Slots(expected) => {
                let mut slots: Vec<u8> = windows.iter().map(|it| it.slot).collect();
                let mut expected = expected.clone();
                slots.sort_unstable();
                expected.sort_unstable();
                (slots != expected)
                    .then(|| format!("windows in the slots {slots:?}, not {expected:?}"))
            }
            Self::SizeMin(min) => (size < *min)
                .then(|| format!("windows of {}, and {} is the least", Size(size), Size(*min))),
            Self::SizeMax(max) => more("windows", size, *max),
            Self::LevelsMax(max) => {
                let deep = windows.iter().map(|it| it.levels).find(|it| it > max)?;
                Some(format!("a table of {deep} levels, and {max} are the most"))
            }
            Self::TableMax(max) => more("tables", sum(|it| it.table), *max),
            Self::ChargeMax(max) => more("charge", sum(|it| it.charge), *max),
            _ => None,
        }
    }

    fn wrong_terms(
        &self,
        question: &Question,
        terms: &crate::policy::wit::Terms,
    ) -> Option<String> {
        let now = match question {
            Question::Admit(it) => it.now,
            Question::Renew(it) => it.now,
            _ => 0,
        };
        match self {
            Self::Access(access) if terms.access != *access => {
                Some(format!("{} access, not {}", diff::word(&terms.access), diff::word(access)))
            }
            Self::TcesMax(max) if terms.tces_max > *max => {
                Some(format!("{} TCEs, and {max} are the most", terms.tces_max))
            }
            Self::PinnedMax(max) => match terms.pinned_max {
                Some(pinned) if pinned <= *max => None,
                Some(pinned) => {
                    Some(format!("memory of {}, and {} is the most", Size(pinned), Size(*max)))
                }
                None => Some(format!("no limit on memory, and {} is the most", Size(*max))),
            },
            Self::LastsMax(max) => match terms.expires.map(|at| at.saturating_sub(now)) {
                Some(lasts) if lasts <= *max => None,
                Some(lasts) => Some(format!("it lasts {lasts} ms, and {max} ms is the most")),
                None => Some(format!("it has no end, and {max} ms is the most")),
            },
            _ => None,
        }
    }
}

fn other_page(found: u8, expected: u8) -> String {
    format!("pages of {}, not {}", Size::of_page(found), Size::of_page(expected))
}

/// The candidates that a layout is made of.
fn chosen(question: &Question, choices: &[WindowChoice]) -> Vec<Candidate> {
    let Question::SizeWindows(question) = question else { return Vec::new() };
    let find = |choice: &WindowChoice| question.candidates.iter().find(|it| is_of(it, choice));
    choices.iter().filter_map(find).cloned().collect()
}

fn is_of(candidate: &Candidate, choice: &WindowChoice) -> bool {
    (candidate.slot, candidate.page, candidate.size, candidate.levels, candidate.origin)
        == (choice.slot, choice.page, choice.size, choice.levels, choice.origin)
}
