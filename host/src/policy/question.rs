//! Every question that there is, and every answer: one value each, so that what asks, carries, records or repeats them
//! is written once.

use std::fmt;

use semver::Version;
use serde::{Deserialize, Serialize};
use wasmtime::component::{ComponentNamedList, Lift, Lower};

use super::{
    interface::{FIRST_TO_STAY, Interface},
    wit::{
        AdmitQuestion, Candidate, GroupLossQuestion, GrowthQuestion, LeaseId, PageChoice,
        PageQuestion, ReclaimQuestion, Refusal, RenewQuestion, Setting, Terms, WindowChoice,
        WindowQuestion,
    },
};

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Page sizes.
    Pages(Vec<PageChoice>),
    /// A layout.
    Windows(Vec<WindowChoice>),
    /// A window to grow into.
    Window(Candidate),
    /// What a lease allows.
    Terms(Terms),
    /// Leases that shall end.
    Leases(Vec<LeaseId>),
    /// A no. It is an answer, not a failure.
    Refused(Refusal),
}

/// A question whose answer has a type of its own.
pub trait Ask: Clone + Sized {
    /// An answer that is no refusal.
    type Given;
    /// What is asked.
    const FUNCTION: Function;

    /// What the operator set for whoever answers.
    fn settings(&self) -> &[Setting];

    /// Sets what the operator set for whoever answers.
    fn set_settings(&mut self, settings: Vec<Setting>);

    /// The question, as one among all.
    fn into_question(self) -> Question;

    /// The answer to such a question; `None` if it answers another, or is a no where there can be none.
    fn given(answer: Answer) -> Option<Result<Self::Given, Refusal>>;
}

/// What a component's function returns.
pub(super) trait Reply: Lift + 'static {
    /// Whether it can be a no.
    const MAY_REFUSE: bool;

    fn answer(self) -> Answer;
}

macro_rules! replies {
    ($($given:ty: $case:ident;)+) => {
        $(
            impl Reply for Result<$given, Refusal> {
                const MAY_REFUSE: bool = true;

                fn answer(self) -> Answer {
                    self.map_or_else(Answer::Refused, Answer::$case)
                }
            }
        )+
    };
}

replies! {
    Vec<PageChoice>: Pages;
    Vec<WindowChoice>: Windows;
    Candidate: Window;
    Terms: Terms;
}

impl Reply for Vec<LeaseId> {
    const MAY_REFUSE: bool = false;

    fn answer(self) -> Answer {
        Answer::Leases(self)
    }
}

macro_rules! questions {
    ($($(#[$doc:meta])* $case:ident($question:ident), $interface:ident, $name:literal => $answer:ident($given:ty) as $reply:ty;)+) => {
        /// One question.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Question {
            $($(#[$doc])* $case($question),)+
        }

        /// What can be asked: a function of the WIT.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Function {
            $($(#[$doc])* $case,)+
        }

        impl Function {
            /// All of them, in the order in which they are asked.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$case),+];

            /// Its name in the WIT.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$case => $name,)+
                }
            }

            /// The decision point that it belongs to.
            #[must_use]
            pub const fn interface(self) -> Interface {
                match self {
                    $(Self::$case => Interface::$interface,)+
                }
            }

            /// Shows a visitor the types of the function.
            pub(super) fn visit<V: Visitor>(self, visitor: &mut V) -> V::Outcome {
                match self {
                    $(Self::$case => visitor.visit::<(&'static $question,), $reply>(self),)+
                }
            }
        }

        impl Question {
            /// What is asked.
            #[must_use]
            pub const fn function(&self) -> Function {
                match self {
                    $(Self::$case(_) => Function::$case,)+
                }
            }

            /// What the operator set for whoever answers.
            #[must_use]
            pub fn settings(&self) -> &[Setting] {
                match self {
                    $(Self::$case(question) => &question.settings,)+
                }
            }

            /// Puts it to something that can be asked any of them.
            pub(super) fn put_to<C: Callee>(&self, callee: &mut C) -> Result<Answer, C::Error> {
                match self {
                    $(Self::$case(question) => {
                        callee.call::<_, $reply>(Function::$case, (question,)).map(Reply::answer)
                    })+
                }
            }
        }

        $(
            impl Ask for $question {
                type Given = $given;
                const FUNCTION: Function = Function::$case;

                fn settings(&self) -> &[Setting] {
                    &self.settings
                }

                fn set_settings(&mut self, settings: Vec<Setting>) {
                    self.settings = settings;
                }

                fn into_question(self) -> Question {
                    Question::$case(self)
                }

                fn given(answer: Answer) -> Option<Result<$given, Refusal>> {
                    match answer {
                        Answer::$answer(given) => Some(Ok(given)),
                        Answer::Refused(refusal) if <$reply as Reply>::MAY_REFUSE => Some(Err(refusal)),
                        _ => None,
                    }
                }
            }
        )+
    };
}

questions! {
    /// Which page size shall a window have?
    SelectPages(PageQuestion), PageSelection, "select-pages"
        => Pages(Vec<PageChoice>) as Result<Vec<PageChoice>, Refusal>;
    /// Which windows shall there be?
    SizeWindows(WindowQuestion), WindowSizing, "size-windows"
        => Windows(Vec<WindowChoice>) as Result<Vec<WindowChoice>, Refusal>;
    /// Which window shall a lease grow into?
    Grow(GrowthQuestion), WindowSizing, "grow" => Window(Candidate) as Result<Candidate, Refusal>;
    /// Shall this lease be?
    Admit(AdmitQuestion), LeasePolicy, "admit" => Terms(Terms) as Result<Terms, Refusal>;
    /// Shall this lease go on?
    Renew(RenewQuestion), LeasePolicy, "renew" => Terms(Terms) as Result<Terms, Refusal>;
    /// Which leases shall be taken back?
    Reclaim(ReclaimQuestion), LeasePolicy, "reclaim" => Leases(Vec<LeaseId>) as Vec<LeaseId>;
    /// Which leases shall end with a group?
    GroupLeaves(GroupLossQuestion), LeasePolicy, "group-leaves"
        => Leases(Vec<LeaseId>) as Vec<LeaseId>;
}

/// What can be asked, by the types of the component model.
pub(super) trait Callee {
    /// Why there is no answer.
    type Error;

    /// Calls a function with what it takes.
    fn call<P: Lower + ComponentNamedList, R: Reply>(
        &mut self,
        function: Function,
        arguments: P,
    ) -> Result<R, Self::Error>;
}

/// What wants to know the types of a function, by those of the component model.
pub(super) trait Visitor {
    /// What it makes of them.
    type Outcome;

    /// Looks at them.
    fn visit<P: Lower + ComponentNamedList, R: Reply>(
        &mut self,
        function: Function,
    ) -> Self::Outcome;
}

impl Function {
    /// The version of the package that it came with. A component that was built for an earlier one may be without it.
    #[must_use]
    pub const fn since(self) -> Version {
        FIRST_TO_STAY
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
