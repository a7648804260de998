//! The files of an image as one tar archive, without anything of the machine or the moment that it was made on.
use std::collections::BTreeMap;

use tar::{Builder, EntryType, Header};

/// What an entry is.
#[derive(Debug, Clone)]
enum Kind {
    Folder,
    File(Vec<u8>),
    Link(String),
}

#[derive(Debug, Clone)]
struct Entry {
    kind: Kind,
    mode: u32,
    /// User and group.
    owner: u64,
}

/// Files by their path, each below folders that are made as needed.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    entries: BTreeMap<String, Entry>,
}

impl Layer {
    /// A file that nobody but root can change.
    pub fn file(&mut self, path: &str, mode: u32, contents: Vec<u8>) {
        self.put(path, mode, 0, Kind::File(contents));
    }

    /// A folder.
    pub fn folder(&mut self, path: &str, mode: u32, owner: u64) {
        self.put(path, mode, owner, Kind::Folder);
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &str, to: &str) {
        self.put(path, 0o777, 0, Kind::Link(to.to_owned()));
    }

    fn put(&mut self, path: &str, mode: u32, owner: u64, kind: Kind) {
        for (end, _) in path.match_indices('/') {
            let above = Entry { kind: Kind::Folder, mode: 0o755, owner: 0 };
            self.entries.entry(path[..end].to_owned()).or_insert(above);
        }
        self.entries.insert(path.to_owned(), Entry { kind, mode, owner });
    }

    /// The archive.
    ///
    /// # Errors
    /// Where a path is too long for one.
    pub fn tar(&self) -> anyhow::Result<Vec<u8>> {
        let mut archive = Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            let mut header = Header::new_ustar();
            header.set_mode(entry.mode);
            header.set_uid(entry.owner);
            header.set_gid(entry.owner);
            header.set_mtime(0);
            match &entry.kind {
                Kind::Folder => {
                    header.set_entry_type(EntryType::Directory);
                    header.set_size(0);
                    archive.append_data(&mut header, format!("{path}/"), &[][..])?;
                }
                Kind::File(contents) => {
                    header.set_size(contents.len() as u64);
                    archive.append_data(&mut header, path, &contents[..])?;
                }
                Kind::Link(to) => {
                    header.set_entry_type(EntryType::Symlink);
                    header.set_size(0);
                    archive.append_link(&mut header, path, to)?;
                }
            }
        }
        Ok(archive.into_inner()?)
    }
}
