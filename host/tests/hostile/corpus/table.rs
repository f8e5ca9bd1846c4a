//! The tables: what comes of each file.

use super::Expected::{self, Answer, Broken, NotLoaded, OtherAnswer};

const FUEL: &str = "burned its budget of 10000000 fuel";
const STACK: &str = "deeper than 256 KiB of stack";
const MEMORY: &str = "more than 16 MiB of memory";
const DATA: &str = "more than 256 KiB";

/// Core modules, in a component that exports page selection.
pub(super) const FRAMED: [(&str, Expected); 71] = [
    ("honest", Answer),
    ("endless-loop", Broken("out-of-fuel", FUEL)),
    ("endless-loop-in-start", NotLoaded("DoesNotStart(OutOfFuel", FUEL)),
    ("endless-loop-in-realloc", Broken("out-of-fuel", FUEL)),
    ("endless-loop-in-post-return", Broken("out-of-fuel", FUEL)),
    ("trap-in-start", NotLoaded("DoesNotStart(Trap", "`unreachable`")),
    ("trap-in-realloc", Broken("trap", "`unreachable`")),
    ("trap-in-post-return", Broken("trap", "`unreachable`")),
    ("trap-unreachable", Broken("trap", "`unreachable`")),
    ("trap-divide-by-zero", Broken("trap", "divide by zero")),
    ("trap-divide-overflow", Broken("trap", "integer overflow")),
    ("trap-nan-to-integer", Broken("trap", "invalid conversion to integer")),
    ("trap-infinity-to-integer", Broken("trap", "integer overflow")),
    ("trap-load-outside", Broken("trap", "out of bounds memory access")),
    ("trap-store-across-the-end", Broken("trap", "out of bounds memory access")),
    ("trap-call-outside", Broken("trap", "table")),
    ("trap-call-nothing", Broken("trap", "uninitialized element")),
    ("trap-call-other-type", Broken("trap", "indirect call type mismatch")),
    ("realloc-outside", Broken("malformed", "realloc return")),
    ("realloc-at-the-end", Broken("malformed", "realloc return")),
    ("realloc-misaligned", Broken("malformed", "realloc return")),
    ("realloc-one-for-all", Answer),
    ("realloc-eats", Broken("out-of-memory", MEMORY)),
    ("memory-bomb", Broken("out-of-memory", MEMORY)),
    ("memory-bomb-at-once", NotLoaded("DoesNotStart(OutOfMemory", MEMORY)),
    ("memory-fill-again-and-again", Broken("out-of-fuel", FUEL)),
    ("memory-copy-again-and-again", Broken("out-of-fuel", FUEL)),
    ("memory-grow-by-nothing", Broken("out-of-fuel", FUEL)),
    ("table-bomb", Broken("trap", "the table limit of 20000 elements is reached")),
    ("table-bomb-at-once", NotLoaded("DoesNotStart(Instantiation", "the table limit of 20000")),
    ("table-fill-again-and-again", Broken("out-of-fuel", FUEL)),
    ("deep-recursion", Broken("out-of-stack", STACK)),
    ("deep-recursion-in-realloc", Broken("out-of-stack", STACK)),
    ("deep-recursion-in-large-frames", Broken("out-of-stack", STACK)),
    ("deep-recursion-through-a-table", Broken("out-of-stack", STACK)),
    ("list-of-all-there-is", Broken("malformed", "out of bounds")),
    ("list-outside", Broken("malformed", "out of bounds")),
    ("list-misaligned", Broken("malformed", "aligned")),
    ("list-of-empty-choices", Broken("too-much-data", DATA)),
    ("list-in-itself", Broken("too-much-data", DATA)),
    ("text-huge", Broken("too-much-data", DATA)),
    ("text-of-all-there-is", Broken("malformed", "out of bounds")),
    ("text-outside", Broken("malformed", "out of bounds")),
    ("text-no-utf-8", Broken("malformed", "utf-8")),
    ("text-overlong", Broken("malformed", "utf-8")),
    ("text-surrogate", Broken("malformed", "utf-8")),
    ("text-of-terminal-codes", OtherAnswer),
    ("enum-unknown", Broken("malformed", "discriminant")),
    ("enum-dirty", OtherAnswer),
    ("variant-unknown", Broken("malformed", "")),
    ("variant-dirty", Answer),
    ("answer-outside", Broken("malformed", "out of bounds")),
    ("answer-across-the-end", Broken("malformed", "out of bounds")),
    ("answer-misaligned", Broken("malformed", "aligned")),
    ("nan-bits", OtherAnswer),
    ("log-flood", Answer),
    ("log-flood-of-long-lines", Broken("out-of-fuel", FUEL)),
    ("log-line-huge", Broken("too-much-data", DATA)),
    ("log-line-long", Answer),
    ("log-line-of-terminal-codes", Answer),
    ("log-line-outside", Broken("malformed", "out of bounds")),
    ("log-line-no-utf-8", Broken("malformed", "utf-8")),
    ("log-level-unknown", Broken("malformed", "discriminant")),
    ("log-in-start", Answer),
    ("log-in-realloc", Broken("trap", "cannot leave")),
    ("log-in-post-return", Broken("trap", "cannot leave")),
    ("settings-trap", Answer),
    ("settings-endless-loop", Answer),
    ("settings-huge", Answer),
    ("settings-many", Answer),
    ("settings-option-unknown", Answer),
];

/// How many there are, or the kind of breakage.
type Count = Result<usize, &'static str>;

/// Of those, the ones that tell of settings: how many they describe, how many problems they find, or how they break.
pub(super) const SETTINGS: [(&str, Count, Count); 5] = [
    ("settings-trap", Err("trap"), Err("trap")),
    ("settings-endless-loop", Err("out-of-fuel"), Err("out-of-fuel")),
    ("settings-huge", Err("too-much-data"), Err("too-much-data")),
    ("settings-many", Ok(64), Ok(1_000)),
    ("settings-option-unknown", Err("malformed"), Ok(0)),
];

/// Whole components.
pub(super) const WHOLE: [(&str, Expected); 22] = [
    ("import-wasi", NotLoaded("Imports", "wasi:clocks/wall-clock@0.2.0, wasi:filesystem/preopens")),
    ("import-bare", NotLoaded("Imports", "it imports log,")),
    ("import-lookalike", NotLoaded("Imports", "tce:po1icy/log@0.2.0, tce:policy/l0g@0.2.0")),
    ("import-lookalike-unicode", NotLoaded("Imports", r"tce:p\u{43e}licy/log@0.2.0")),
    ("import-terminal-codes", NotLoaded("Imports", r"\u{1b}[2J\u{1b}[Hall is well\u{a}")),
    ("import-no-version", NotLoaded("Imports", "it imports tce:policy/log,")),
    ("import-later-log", NotLoaded("Imports", "it imports tce:policy/log@0.3.0,")),
    ("import-later-types", NotLoaded("Imports", "it imports tce:policy/types@7.0.0,")),
    ("import-candidate-log", NotLoaded("Imports", "it imports tce:policy/log@0.2.0-rc.1,")),
    ("import-log-as-function", NotLoaded("Imports", "it imports function `tce:policy/log@0.2.0`")),
    ("import-log-with-more", NotLoaded("Imports", "instance export `read` has the wrong type")),
    (
        "import-log-of-other-type",
        NotLoaded("Imports", "instance export `write` has the wrong type"),
    ),
    ("import-types-with-function", NotLoaded("Imports", "it imports instance `tce:policy/types@")),
    ("import-types-with-resource", NotLoaded("Imports", "instance export `clock` has the wrong")),
    ("import-core-module", NotLoaded("Imports", "it imports code,")),
    ("import-component", NotLoaded("Compile", "component imports are not supported")),
    ("export-lookalike", NotLoaded("NoInterface", r"tce:policy/page-selecti\u{43e}n@0.2.0")),
    ("export-function", NotLoaded("OtherType", "select-pages")),
    ("export-twice", NotLoaded("Compile", "conflicts with previous name")),
    ("type-bomb", NotLoaded("Compile", "type size exceeds the limit")),
    ("async-lift", NotLoaded("Compile", "async")),
    ("threads", NotLoaded("Compile", "async")),
];
