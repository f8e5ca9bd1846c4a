//! The list of mutations: reading it, and making one in a source text.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use toml::Spanned;

/// The list, from the checkout's root.
const LIST: &str = "conformance/mutations.toml";
/// The simulated kernel's sources, from the checkout's root.
const SOURCES: &str = "engine/sim/src";
/// Mutations in a list: each takes seconds.
const MUTATIONS_MAX: usize = 200;

/// The list.
#[derive(Debug)]
pub(super) struct List {
    mutations: Vec<Mutation>,
}

/// A deliberate mistake in the simulated kernel.
#[derive(Debug)]
pub(super) struct Mutation {
    pub(super) name: String,
    /// The line of its name in the list.
    line: usize,
    /// The source, below [`SOURCES`].
    file: String,
    find: String,
    replace: String,
    /// What the simulated kernel then tells wrongly, with the kernel's function.
    pub(super) breaks: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    mutation: Vec<Written>,
}

/// A mutation as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: Spanned<String>,
    file: String,
    find: String,
    replace: String,
    breaks: String,
}

impl List {
    /// The checkout's.
    pub(super) fn read(root: &Path) -> Result<Self> {
        Self::parse(&super::read(&root.join(LIST))?)
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        let document: Document =
            toml::from_str(text).with_context(|| format!("{LIST} is no list of mutations"))?;
        let count = document.mutation.len();
        ensure!(count > 0, "{LIST} has no [[mutation]]");
        ensure!(count <= MUTATIONS_MAX, "{LIST} has {count} mutations, more than {MUTATIONS_MAX}");
        let mutations: Vec<_> =
            document.mutation.into_iter().map(|written| Mutation::new(written, text)).collect();
        let mut names = BTreeSet::new();
        for mutation in &mutations {
            mutation.check()?;
            ensure!(names.insert(&mutation.name), "{mutation}: another one has this name");
        }
        Ok(Self { mutations })
    }

    /// Those of these names, or all; in the list's order.
    pub(super) fn choose(&self, names: &[String]) -> Result<Vec<&Mutation>> {
        for name in names {
            if !self.mutations.iter().any(|mutation| mutation.name == *name) {
                let known: Vec<_> = self.mutations.iter().map(|it| it.name.as_str()).collect();
                bail!("no mutation is called `{name}`; {LIST} has: {}", known.join(", "));
            }
        }
        let wanted = |it: &&Mutation| names.is_empty() || names.contains(&it.name);
        Ok(self.mutations.iter().filter(wanted).collect())
    }
}

impl Mutation {
    fn new(written: Written, text: &str) -> Self {
        let Written { name, file, find, replace, breaks } = written;
        let line = line_at(text, name.span().start);
        Self { name: name.into_inner(), line, file, find, replace, breaks }
    }

    fn check(&self) -> Result<()> {
        ensure!(is_kebab_case(&self.name), "{self}: a name is lower case, with single hyphens");
        let mut parts = Path::new(&self.file).components();
        let is_below =
            !self.file.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)));
        ensure!(is_below, "{self}: `{}` is no file below {SOURCES}", self.file);
        ensure!(!self.find.trim().is_empty(), "{self}: `find` is empty");
        ensure!(self.find != self.replace, "{self}: `replace` is what `find` is");
        ensure!(!self.breaks.trim().is_empty(), "{self}: `breaks` must say what it tells wrongly");
        Ok(())
    }

    /// The source it changes, from the checkout's root.
    pub(super) fn path(&self) -> PathBuf {
        Path::new(SOURCES).join(&self.file)
    }

    /// The source in this checkout, with the mutation made.
    pub(super) fn changed(&self, root: &Path) -> Result<String> {
        let source = super::read(&root.join(self.path())).with_context(|| self.to_string())?;
        self.apply(&source)
    }

    fn apply(&self, source: &str) -> Result<String> {
        match source.matches(&self.find).count() {
            1 => Ok(source.replacen(&self.find, &self.replace, 1)),
            count => bail!(
                "{self}: its `find` occurs {count} times in {}, and must occur once; \
                 what to do: the list has to follow the code",
                self.path().display()
            ),
        }
    }
}

/// Where it is written, and its name.
impl fmt::Display for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{LIST}:{}: mutation `{}`", self.line, self.name)
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

fn is_kebab_case(name: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit())
    };
    name.split('-').all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Deliberate mistakes that issue 3 asks for.
    const MUTATIONS_MIN: usize = 10;

    fn entry(name: &str, file: &str, find: &str, replace: &str) -> String {
        format!(
            "[[mutation]]\nname = '{name}'\nfile = '{file}'\nfind = '{find}'\nreplace = '{replace}'\nbreaks = 'f is wrong.'\n"
        )
    }

    fn refused(text: &str) -> String {
        format!("{:#}", List::parse(text).unwrap_err())
    }

    #[test]
    fn each_mutation_of_the_list_fits_the_sources() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let list = List::read(&root).unwrap();
        assert!(list.mutations.len() >= MUTATIONS_MIN);
        for mutation in &list.mutations {
            mutation.changed(&root).unwrap();
        }
    }

    #[test]
    fn the_text_is_replaced_where_it_is_found() {
        let list = List::parse(&entry("a-1", "b/c.rs", "x + 1", "x")).unwrap();
        let mutation = &list.mutations[0];
        assert_eq!(mutation.path(), Path::new("engine/sim/src/b/c.rs"));
        assert_eq!(mutation.apply("let y = x + 1;").unwrap(), "let y = x;");
    }

    #[test]
    fn a_text_that_is_not_found_once_is_an_error_of_the_list() {
        let text = entry("a", "b.rs", "1", "2") + &entry("second", "b.rs", "x", "y");
        let list = List::parse(&text).unwrap();
        for (source, times) in [("", "0 times"), ("x x", "2 times")] {
            let error = list.mutations[1].apply(source).unwrap_err().to_string();
            assert!(
                error.starts_with("conformance/mutations.toml:8: mutation `second`"),
                "{error}"
            );
            assert!(error.contains(times) && error.contains("engine/sim/src/b.rs"), "{error}");
        }
    }

    #[test]
    fn a_list_that_shows_nothing_is_refused() {
        assert!(refused("").contains("has no [[mutation]]"));
        assert!(refused(&entry("Loud", "b.rs", "1", "2")).contains("lower case"));
        assert!(refused(&entry("a--b", "b.rs", "1", "2")).contains("lower case"));
        for outside in ["../b.rs", "/b.rs", ""] {
            assert!(refused(&entry("a", outside, "1", "2")).contains("no file below"));
        }
        assert!(refused(&entry("a", "b.rs", " ", "2")).contains("`find` is empty"));
        assert!(refused(&entry("a", "b.rs", "1", "1")).contains("is what `find` is"));
        let twice = entry("a", "b.rs", "1", "2") + &entry("a", "b.rs", "3", "4");
        assert!(refused(&twice).contains("another one has this name"));
        let many: String =
            (0..=MUTATIONS_MAX).map(|n| entry(&format!("a{n}"), "b.rs", "1", "2")).collect();
        assert!(refused(&many).contains("more than 200"));
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let error = refused(&(entry("a", "b.rs", "1", "2") + "why = 'x'\n"));
        assert!(error.contains("why") && error.contains("line 7"), "{error}");
    }

    #[test]
    fn names_choose_and_an_unknown_one_shows_those_there_are() {
        let text = entry("a", "b.rs", "1", "2") + &entry("b", "b.rs", "1", "2");
        let list = List::parse(&text).unwrap();
        let chosen = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            list.choose(&names).map(|found| found.iter().map(|it| it.name.clone()).collect())
        };
        let all: Vec<String> = chosen(&[]).unwrap();
        assert_eq!(all, ["a", "b"]);
        let one: Vec<String> = chosen(&["b"]).unwrap();
        assert_eq!(one, ["b"]);
        let error = chosen(&["c"]).map(|_: Vec<String>| ()).unwrap_err().to_string();
        assert!(error.contains("`c`") && error.contains("a, b"), "{error}");
    }
}
