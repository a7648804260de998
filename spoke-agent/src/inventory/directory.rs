//! Reading a directory of YAML files that others write to at any time.
use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::{MetadataExt, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// A file is read once it has been left alone for this long: a younger one may be half written.
pub(super) const SETTLE: Duration = Duration::from_millis(50);
/// The largest file that is read, in bytes.
const LARGEST: u64 = 16 << 20;

/// A directory, and what it looked like when it was last read.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    seen: Option<Vec<Stamp>>,
}

/// What tells two states of a file apart without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    inode: u64,
    size: u64,
    modified: Option<SystemTime>,
}

/// One file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) path: PathBuf,
    /// Its content, or why it cannot be read.
    pub(super) text: Result<String, String>,
}

/// What a look at the directory found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// The same as last time.
    Unchanged,
    /// Somebody is writing: look again after [`SETTLE`].
    Unsettled,
    /// It is missing or cannot be read, and why.
    Unreadable(String),
    /// All its YAML files, in the order of their names.
    Files(Vec<File>),
}

impl Directory {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.into(), seen: None }
    }

    /// Reads the directory if it is not as it was at the last look.
    pub(super) fn look(&mut self) -> Look {
        let stamps = match self.stamps() {
            Ok(stamps) => stamps,
            Err(error) => {
                self.seen = None;
                return Look::Unreadable(format!("{}: {error}", self.path.display()));
            }
        };
        if self.seen.as_ref() == Some(&stamps) {
            return Look::Unchanged;
        }
        let now = SystemTime::now();
        let young = |stamp: &Stamp| {
            stamp.modified.and_then(|modified| now.duration_since(modified).ok()).is_some_and(|age| age < SETTLE)
        };
        if stamps.iter().any(young) {
            return Look::Unsettled;
        }
        let files: Vec<File> = stamps.iter().map(read).collect();
        // A file that changed while it was read is somewhere between two states.
        if self.stamps().ok().as_ref() != Some(&stamps) {
            return Look::Unsettled;
        }
        // What could not be read is tried again at every look.
        self.seen = files.iter().all(|file| file.text.is_ok()).then_some(stamps);
        Look::Files(files)
    }

    fn stamps(&self) -> io::Result<Vec<Stamp>> {
        let mut stamps = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
            let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
            if hidden || !yaml {
                continue;
            }
            // Links are followed: a mounted ConfigMap consists of them.
            let stamp = match fs::metadata(&path) {
                Ok(data) => Stamp { inode: data.ino(), size: data.size(), modified: data.modified().ok(), path },
                Err(_) => Stamp { inode: 0, size: 0, modified: None, path },
            };
            stamps.push(stamp);
        }
        stamps.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(stamps)
    }
}

fn read(stamp: &Stamp) -> File {
    let text = bytes(&stamp.path).map_err(|error| error.to_string()).and_then(|bytes| {
        String::from_utf8(bytes).map_err(|error| format!("byte {} is not UTF-8", error.utf8_error().valid_up_to()))
    });
    File { path: stamp.path.clone(), text }
}

/// What is in a file, whatever has taken its place since it was looked at: a pipe never ends to open, a device to read.
fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file; wanted one with YAML: remove it or give it another ending"));
    }
    let mut bytes = Vec::new();
    file.by_ref().take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other(format!("it has more than {LARGEST} bytes, which is the most that are read")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(directory: &mut Directory) -> Look {
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        loop {
            match directory.look() {
                Look::Unsettled if std::time::Instant::now() < deadline => std::thread::sleep(SETTLE / 5),
                look => return look,
            }
        }
    }

    fn texts(look: Look) -> Vec<Result<String, String>> {
        let Look::Files(files) = look else { panic!("{look:?}") };
        files.into_iter().map(|file| file.text).collect()
    }

    #[test]
    fn missing_is_not_empty() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("inventory");
        let mut directory = Directory::new(&path);
        assert!(matches!(directory.look(), Look::Unreadable(_)));
        fs::create_dir(&path).unwrap();
        assert_eq!(settled(&mut directory), Look::Files(vec![]));
        assert_eq!(settled(&mut directory), Look::Unchanged);
        fs::remove_dir(&path).unwrap();
        assert!(matches!(directory.look(), Look::Unreadable(_)));
        fs::create_dir(&path).unwrap();
        assert_eq!(settled(&mut directory), Look::Files(vec![]), "back again is news");
    }

    #[test]
    fn reads_yaml_in_order_once_it_is_settled() {
        let parent = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(parent.path().join(name), bytes).unwrap();
        write("b.yaml", b"b");
        write("a.yml", b"a");
        write("notes.txt", b"no");
        write(".hidden.yaml", b"no");
        let mut directory = Directory::new(parent.path());
        assert_eq!(directory.look(), Look::Unsettled, "just written");
        assert_eq!(texts(settled(&mut directory)), [Ok("a".into()), Ok("b".into())]);
        assert_eq!(settled(&mut directory), Look::Unchanged);
        write("b.yaml", b"c");
        assert_eq!(texts(settled(&mut directory)), [Ok("a".into()), Ok("c".into())]);
        fs::remove_file(parent.path().join("a.yml")).unwrap();
        assert_eq!(texts(settled(&mut directory)), [Ok("c".into())]);
    }

    #[test]
    fn what_cannot_be_read_says_so_each_time() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("a.yaml"), b"ok\xff").unwrap();
        std::os::unix::fs::symlink("nowhere", parent.path().join("b.yaml")).unwrap();
        let mut directory = Directory::new(parent.path());
        for _ in 0..2 {
            let texts = texts(settled(&mut directory));
            assert_eq!(texts[0], Err("byte 2 is not UTF-8".into()));
            assert!(texts[1].as_ref().is_err_and(|why| why.contains("No such file")), "{texts:?}");
        }
    }

    #[test]
    fn what_never_ends_is_no_file() {
        let parent = tempfile::tempdir().unwrap();
        let path = |name: &str| parent.path().join(name);
        fs::create_dir(path("a.yaml")).unwrap();
        nix::unistd::mkfifo(&path("b.yaml"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("c.yaml")).unwrap();
        std::os::unix::fs::symlink("d.yaml", path("d.yaml")).unwrap();
        fs::File::create(path("e.yaml")).unwrap().set_len(LARGEST + 1).unwrap();
        fs::write(path("f.yaml"), b"ok").unwrap();
        let texts = texts(settled(&mut Directory::new(parent.path())));
        let why: Vec<_> = texts.iter().map(|text| text.as_ref().map_or_else(String::as_str, String::as_str)).collect();
        let wanted = ["no file", "no file", "no file", "symbolic links", "more than", "ok"];
        assert!(why.iter().zip(wanted).all(|(why, wanted)| why.contains(wanted)) && why.len() == 6, "{why:?}");
    }
}
