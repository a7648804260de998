//! A log on disk: the state at some point in one sealed file, and what came since, entry by entry, in another.
//!
//! An entry is written before anybody is told of it, so a killed process loses nothing. A power cut may lose entries that
//! are not synced; whoever followed this log further notices by the hash of its position and takes a new copy. That copy is
//! older, which matters for a relay whose hub is away: so entries are synced a moment after they are written, all together
//! ([`Journal::unsynced`]), and how much can be lost does not depend on when the system writes back by itself.
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::disk::{self, Sealed};

/// Length and checksum before every entry.
const HEAD: usize = 4 + 8;
/// Entries are not compacted into a new state below this size, in bytes.
const WORTH_COMPACTING: u64 = 4 << 20;

/// The two files of one log, open for writing.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    entries: File,
    /// Bytes of whole entries.
    length: u64,
    state_length: u64,
    /// The last append failed: what the file holds behind `length` is not known.
    broken: bool,
    /// Entries were added since somebody asked what to sync.
    unsynced: bool,
}

/// What was on disk.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The state, if one was kept.
    pub state: Option<Vec<u8>>,
    /// The entries since then; some may be older than the state.
    pub entries: Vec<Vec<u8>>,
    /// What was damaged and set aside, for people.
    pub damage: Vec<String>,
}

impl Journal {
    /// Opens the log in `directory`, which is made if it is missing, and reads what is there. Damaged files are set aside
    /// with the suffix `.bad`; entries without their state are of no use and go with it.
    ///
    /// # Errors
    /// As the system says, with the path.
    pub fn open(directory: &Path) -> io::Result<(Self, Found)> {
        disk::private_directory(directory)?;
        let path = directory.join("entries");
        let mut found = Found::default();
        match disk::unseal(&directory.join("state"))? {
            Sealed::Whole(state) => found.state = Some(state),
            Sealed::Missing => {}
            Sealed::SetAside(why) => {
                found.damage.push(why);
                if path.exists() {
                    disk::set_aside(&path)?;
                }
            }
        }
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(disk::at(&path, &error)),
        };
        let (entries, length) = split(&bytes);
        found.entries = entries;
        if length < bytes.len() {
            let bad = directory.join("entries.bad");
            disk::replace(&bad, &bytes)?;
            let why = format!(
                "{}: {} bytes after the last whole entry are cut off; the file is kept as {}",
                path.display(),
                bytes.len() - length,
                bad.display()
            );
            found.damage.push(why);
        }
        let entries = open_entries(&path)?;
        entries.set_len(length as u64).map_err(|error| disk::at(&path, &error))?;
        let state_length = found.state.as_ref().map_or(0, Vec::len) as u64;
        let journal = Self {
            directory: directory.into(),
            entries,
            length: length as u64,
            state_length,
            broken: false,
            unsynced: false,
        };
        Ok((journal, found))
    }

    /// Adds an entry. If that fails, the log on disk ends before it and takes no more until [`Journal::compact`] succeeds.
    ///
    /// # Errors
    /// As the system says, with the path.
    pub fn append(&mut self, entry: &[u8]) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other(format!("{}: an earlier write failed", self.directory.display())));
        }
        let bytes = frame(entry)?;
        if let Err(error) = self.entries.write_all(&bytes) {
            // Later entries would not join.
            self.broken = true;
            let _ = self.entries.set_len(self.length);
            return Err(disk::at(&self.directory.join("entries"), &error));
        }
        self.length += bytes.len() as u64;
        self.unsynced = true;
        Ok(())
    }

    /// The file to sync, if entries were added since the last call.
    ///
    /// # Errors
    /// As the system says, with the path.
    pub fn unsynced(&mut self) -> io::Result<Option<File>> {
        if !std::mem::take(&mut self.unsynced) {
            return Ok(None);
        }
        self.entries.try_clone().map(Some).map_err(|error| disk::at(&self.directory.join("entries"), &error))
    }

    /// Whether the entries have outgrown the state, or a write has failed.
    #[must_use]
    pub fn wants_compacting(&self) -> bool {
        self.broken || self.length > WORTH_COMPACTING.max(2 * self.state_length)
    }

    /// Puts `state` in the place of everything before.
    ///
    /// # Errors
    /// As the system says, with the path; what was on disk before still is.
    pub fn compact(&mut self, state: &[u8]) -> io::Result<()> {
        // First the state: entries that are older than it do no harm, a state without what came after it would.
        disk::seal(&self.directory.join("state"), state)?;
        self.state_length = state.len() as u64;
        let path = self.directory.join("entries");
        self.broken = true;
        self.entries.set_len(0).map_err(|error| disk::at(&path, &error))?;
        self.length = 0;
        self.broken = false;
        Ok(())
    }
}

fn open_entries(path: &Path) -> io::Result<File> {
    let options = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    options.map_err(|error| disk::at(path, &error))
}

fn frame(entry: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(entry.len()).map_err(|_| io::Error::other("an entry of 4 GiB or more"))?;
    let mut bytes = Vec::with_capacity(HEAD + entry.len());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&checksum(entry));
    bytes.extend_from_slice(entry);
    Ok(bytes)
}

fn checksum(entry: &[u8]) -> [u8; 8] {
    let mut sum = [0; 8];
    sum.copy_from_slice(&blake3::hash(entry).as_bytes()[..8]);
    sum
}

/// The whole entries at the start of `bytes`, and how many bytes they take.
fn split(bytes: &[u8]) -> (Vec<Vec<u8>>, usize) {
    let mut entries = Vec::new();
    let mut at = 0;
    while let Some(head) = bytes.get(at..at + HEAD) {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some(entry) = bytes.get(at + HEAD..at + HEAD + length) else { break };
        if checksum(entry) != head[4..HEAD] {
            break;
        }
        entries.push(entry.to_vec());
        at += HEAD + length;
    }
    (entries, at)
}

#[cfg(test)]
mod tests;
