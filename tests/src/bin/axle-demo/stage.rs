//! How the demo speaks.
use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

/// Where the demo prints what it does and proves.
#[derive(Debug)]
pub(crate) struct Stage {
    colour: bool,
    scene: u32,
    start: Instant,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self { colour: io::stdout().is_terminal(), scene: 0, start: Instant::now() }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Opens a scene.
    pub(crate) fn scene(&mut self, title: &str) -> io::Result<()> {
        self.scene += 1;
        let heading = self.paint("1;36", &format!("{}. {title}", self.scene));
        writeln!(io::stdout(), "\n{heading}")
    }

    /// A command as one would type it.
    pub(crate) fn command(&self, line: &str) -> io::Result<()> {
        writeln!(io::stdout(), "   {} {}", self.paint("2", "$"), self.paint("1", line))
    }

    /// What a program printed.
    pub(crate) fn output(&self, text: &str) -> io::Result<()> {
        for line in text.trim_end().lines() {
            writeln!(io::stdout(), "   {} {line}", self.paint("2", "│"))?;
        }
        Ok(())
    }

    /// A fact that was just seen.
    pub(crate) fn proof(&self, text: &str) -> io::Result<()> {
        writeln!(io::stdout(), "   {} {text}", self.paint("1;32", "✓"))
    }

    /// A remark.
    pub(crate) fn note(&self, text: &str) -> io::Result<()> {
        writeln!(io::stdout(), "   {text}")
    }

    /// The end of the last scene.
    pub(crate) fn end(&self) -> io::Result<()> {
        let text = format!("all seen, in {:.0} s", self.start.elapsed().as_secs_f64());
        writeln!(io::stdout(), "\n{}", self.paint("1;32", &text))
    }
}

/// A short time for people.
pub(crate) fn shown(time: Duration) -> String {
    match time.as_secs_f64() * 1000.0 {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 2000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1000.0),
    }
}
