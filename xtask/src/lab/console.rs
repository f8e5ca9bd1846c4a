//! Reads the console of the lab's machine: passes on what the command prints, live, and collects what
//! `tests/lab/init.sh` reports around it. Marks carry the name of the run, so that a command cannot end
//! its own run by printing one. It does no input or output of its own but the writer it is given.

use std::io::{self, Write};

use super::received::{File, Receiving};

/// What one run of the lab came to, as far as the console told.
#[derive(Default)]
pub(crate) struct Report {
    /// Whether the command was started.
    pub(crate) started: bool,
    /// The command's exit code.
    pub(crate) exit: Option<u8>,
    /// Warnings of the kernel since the command was started.
    pub(crate) kernel: Vec<String>,
    pub(crate) files: Vec<File>,
    /// Files that did not arrive whole, and why.
    pub(crate) damaged: Vec<String>,
    /// Whether everything was told.
    pub(crate) done: bool,
}

enum State {
    Around,
    Command,
    Kernel(Vec<u8>),
    File(Receiving),
}

pub(crate) struct Console<W> {
    needle: Vec<u8>,
    held: Vec<u8>,
    state: State,
    report: Report,
    out: W,
}

/// The end of a mark.
const CLOSE: &[u8] = b"@@\n";

impl<W: Write> Console<W> {
    /// `run` is the name the machine was told for this run; the command's output goes to `out`.
    pub(crate) fn new(run: &str, out: W) -> Self {
        Self {
            needle: format!("\n@@tce-lab {run} ").into_bytes(),
            held: Vec::new(),
            state: State::Around,
            report: Report::default(),
            out,
        }
    }

    /// Takes the next bytes, without carriage returns and firmware messages.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.held.extend_from_slice(bytes);
        while let Some(start) = find(&self.held, &self.needle) {
            let words = start + self.needle.len();
            let rest = self.held.get(words..).unwrap_or_default();
            let Some(length) = find(rest, CLOSE) else {
                return self.pass(start);
            };
            let mark = String::from_utf8_lossy(rest.get(..length).unwrap_or_default()).into_owned();
            self.pass(start)?;
            self.held.drain(..words - start + length + CLOSE.len());
            self.mark(&mark);
        }
        let kept = longest_start(&self.held, &self.needle);
        self.pass(self.held.len() - kept)
    }

    pub(crate) fn report(self) -> Report {
        self.report
    }

    /// Hands the first `length` held bytes to whom they belong.
    fn pass(&mut self, length: usize) -> io::Result<()> {
        let bytes: Vec<u8> = self.held.drain(..length).collect();
        match &mut self.state {
            State::Around => {}
            State::Command if bytes.is_empty() => {}
            State::Command => {
                self.out.write_all(&bytes)?;
                self.out.flush()?;
            }
            State::Kernel(text) => text.extend(bytes),
            State::File(file) => file.add(&bytes),
        }
        Ok(())
    }

    fn mark(&mut self, mark: &str) {
        let (word, rest) = mark.split_once(' ').unwrap_or((mark, ""));
        let state = match word {
            "start" => {
                self.report.started = true;
                State::Command
            }
            "kernel" => State::Kernel(Vec::new()),
            "file" => match Receiving::announced(rest) {
                Ok(file) => State::File(file),
                Err(problem) => {
                    self.report.damaged.push(problem);
                    State::Around
                }
            },
            _ => State::Around,
        };
        match std::mem::replace(&mut self.state, state) {
            State::Kernel(text) => {
                let text = String::from_utf8_lossy(&text);
                self.report.kernel.extend(text.lines().map(str::to_owned));
            }
            State::File(file) => match file.finish() {
                Ok(file) => self.report.files.push(file),
                Err(problem) => self.report.damaged.push(problem),
            },
            State::Around | State::Command => {}
        }
        match word {
            "exit" => self.report.exit = rest.parse().ok(),
            "done" => self.report.done = true,
            _ => {}
        }
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// How many of the last bytes may be the start of `part`.
fn longest_start(bytes: &[u8], part: &[u8]) -> usize {
    let most = bytes.len().min(part.len() - 1);
    (1..=most)
        .rev()
        .find(|&length| part.get(..length) == bytes.get(bytes.len() - length..))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = "boot noise\n@@tce-lab other start@@\nmore\n@@tce-lab r1 start@@\n\
        hello\n@@tce-lab other exit 0@@\nworld\n@@tce-lab r1 exit 3@@\n\
        \n@@tce-lab r1 kernel@@\n[1.0] WARNING: x\n\n@@tce-lab r1 kernel-end@@\n\
        \n@@tce-lab r1 file cbf43926 9 a/b.json@@\nMTIzNDU2\nNzg5\n\n@@tce-lab r1 file-end@@\n\
        \n@@tce-lab r1 done@@\nbye";

    fn read(session: &str, chunk: usize) -> (String, Report) {
        let mut out = Vec::new();
        let mut console = Console::new("r1", &mut out);
        for bytes in session.as_bytes().chunks(chunk) {
            console.feed(bytes).unwrap();
        }
        let report = console.report();
        (String::from_utf8(out).unwrap(), report)
    }

    #[test]
    fn the_output_of_the_command_and_the_report_are_told_apart_however_the_bytes_arrive() {
        for chunk in 1..40 {
            let (out, report) = read(SESSION, chunk);
            assert_eq!(out, "hello\n@@tce-lab other exit 0@@\nworld");
            assert_eq!(report.exit, Some(3));
            assert_eq!(report.kernel, ["[1.0] WARNING: x"]);
            assert!(report.done && report.damaged.is_empty());
            let file = report.files.first().unwrap();
            assert_eq!((file.name.as_str(), file.data.as_slice()), ("a/b.json", &b"123456789"[..]));
        }
    }

    #[test]
    fn output_is_passed_on_before_its_line_ends() {
        let (out, report) = read("x\n@@tce-lab r1 start@@\n50 %", 1000);
        assert_eq!(out, "50 %");
        assert!(report.started && report.exit.is_none() && !report.done);
    }

    #[test]
    fn a_file_that_lost_bytes_is_reported() {
        let (_, report) = read(&SESSION.replace("NzgN", "").replace("MTIz", ""), 7);
        assert!(report.files.is_empty());
        assert_eq!(report.damaged.len(), 1);
    }
}
