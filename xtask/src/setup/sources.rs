//! Reads where this machine gets Debian from, in both forms apt knows. It only reads text: whether an
//! address really serves Debian is settled by the signature apt checks.

/// The suffixes of the archive's suites that we can tell from the codename.
const SECURITY: &str = "-security";

/// Where the machine's own sources say Debian and its security archive are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Mirrors {
    pub(crate) main: Vec<String>,
    pub(crate) security: Vec<String>,
}

#[derive(Debug, Default)]
struct Source {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: Option<String>,
}

impl Mirrors {
    /// Adds what a file in the one-line form (`deb URI SUITE main`) names.
    pub(crate) fn add_list(&mut self, text: &str, codename: &str) {
        for source in text.lines().filter_map(one_line) {
            self.add(&source, codename);
        }
    }

    /// Adds what a file in the deb822 form (`Types:`, `URIs:`, …) names.
    pub(crate) fn add_deb822(&mut self, text: &str, codename: &str) {
        for source in stanzas(text) {
            self.add(&source, codename);
        }
    }

    /// Where the security archive is not named, it usually stands beside the archive itself.
    pub(crate) fn guess_security(&mut self) {
        if self.security.is_empty() {
            self.security = self
                .main
                .iter()
                .map(|uri| format!("{}{SECURITY}", uri.trim_end_matches('/')))
                .collect();
        }
    }

    fn add(&mut self, source: &Source, codename: &str) {
        let foreign_key =
            source.signed_by.as_ref().is_some_and(|key| !key.contains("debian-archive"));
        let main = source.components.iter().any(|component| component == "main");
        if foreign_key || !main {
            return;
        }
        for suite in &source.suites {
            let is = |suffix: &str| {
                [codename, "stable", "oldstable"]
                    .iter()
                    .any(|name| suite.strip_prefix(name) == Some(suffix))
            };
            let list = if is("") || is("-updates") || is("-backports") {
                &mut self.main
            } else if is(SECURITY) || is("/updates") {
                &mut self.security
            } else {
                continue;
            };
            for uri in &source.uris {
                if !uri.starts_with("cdrom:") && !list.contains(uri) {
                    list.push(uri.clone());
                }
            }
        }
    }
}

fn one_line(line: &str) -> Option<Source> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let mut rest = line.strip_prefix("deb")?;
    if !rest.starts_with(char::is_whitespace) {
        return None;
    }
    rest = rest.trim_start();
    let mut source = Source::default();
    if let Some(options) = rest.strip_prefix('[') {
        let (options, after) = options.split_once(']')?;
        rest = after.trim_start();
        source.signed_by = options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="))
            .map(str::to_owned);
    }
    let mut words = rest.split_whitespace().map(str::to_owned);
    source.uris.push(words.next()?);
    source.suites.push(words.next()?);
    source.components = words.collect();
    Some(source)
}

fn stanzas(text: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let without_comments: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for stanza in without_comments.split(|line| line.trim().is_empty()) {
        let list = |name: &str| -> Vec<String> {
            field(stanza, name).split_whitespace().map(str::to_owned).collect()
        };
        let disabled = field(stanza, "Enabled").trim().eq_ignore_ascii_case("no");
        if disabled || !list("Types").iter().any(|kind| kind == "deb") {
            continue;
        }
        let key = field(stanza, "Signed-By").trim().to_owned();
        found.push(Source {
            uris: list("URIs"),
            suites: list("Suites"),
            components: list("Components"),
            signed_by: (!key.is_empty()).then_some(key),
        });
    }
    found
}

/// The value of a field with its continuation lines; empty if there is none.
pub(crate) fn field(stanza: &[&str], name: &str) -> String {
    let mut value = String::new();
    let mut inside = false;
    for line in stanza {
        if line.starts_with(char::is_whitespace) {
            if inside {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some((key, rest)) = line.split_once(':') {
            inside = key.eq_ignore_ascii_case(name);
            if inside {
                value = rest.trim().to_owned();
            }
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_list(text: &str) -> Mirrors {
        let mut mirrors = Mirrors::default();
        mirrors.add_list(text, "bookworm");
        mirrors
    }

    fn from_deb822(text: &str) -> Mirrors {
        let mut mirrors = Mirrors::default();
        mirrors.add_deb822(text, "bookworm");
        mirrors
    }

    #[test]
    fn one_line_sources_are_read_with_and_without_options() {
        let mirrors = from_list(
            "# comment\n\
             deb http://a.example/debian bookworm main contrib\n\
             deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://b.example/debian bookworm-updates main # more\n\
             deb http://a.example/debian-security bookworm-security main\n\
             deb-src http://src.example/debian bookworm main\n",
        );
        assert_eq!(mirrors.main, ["http://a.example/debian", "http://b.example/debian"]);
        assert_eq!(mirrors.security, ["http://a.example/debian-security"]);
    }

    #[test]
    fn deb822_sources_are_read_stanza_by_stanza() {
        let mirrors = from_deb822(
            "Types: deb\n# comment\nURIs: http://a.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\n\
             Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
             Types: deb\nURIs: mirror+file:///etc/apt/mirrors/security.list\nSuites: bookworm-security\nComponents: main\n\n\
             Types: deb\nEnabled: no\nURIs: http://off.example/debian\nSuites: bookworm\nComponents: main\n",
        );
        assert_eq!(mirrors.main, ["http://a.example/debian"]);
        assert_eq!(mirrors.security, ["mirror+file:///etc/apt/mirrors/security.list"]);
    }

    #[test]
    fn foreign_repositories_are_ignored() {
        assert_eq!(
            from_list(
                "deb https://a.example/node nodistro main\n\
                 deb https://b.example/docker bookworm stable\n\
                 deb [signed-by=/etc/apt/keyrings/vendor.gpg] https://c.example/tools bookworm main\n\
                 deb cdrom:[Debian]/ bookworm main\n"
            ),
            Mirrors::default()
        );
    }

    #[test]
    fn the_security_archive_is_looked_for_beside_the_archive() {
        let mut mirrors = from_list("deb http://a.example/debian/ bookworm main");
        mirrors.guess_security();
        assert_eq!(mirrors.security, ["http://a.example/debian-security"]);
    }
}
