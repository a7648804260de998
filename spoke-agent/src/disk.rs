//! Files that are whole or not there: written aside, synced and renamed, with a digest, so that neither a kill nor a
//! power cut leaves half of one.
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// What every sealed file starts with; the last two bytes are the version of the format.
const MAGIC: [u8; 8] = *b"axle\0\0\0\x01";
const DIGEST: usize = 32;

/// Makes a directory, and those above it, that only this user can enter.
///
/// # Errors
/// As the system says, with the path.
pub fn private_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| at(path, &error))
}

/// Replaces `path` with `bytes`, readable by this user only: afterwards it holds the old content or the new, whatever
/// happens meanwhile.
///
/// # Errors
/// As the system says, with the path; the old content is untouched.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, |file| file.write_all(bytes))
}

/// As [`replace`], the content written by `write`.
///
/// # Errors
/// As the system says, with the path; the old content is untouched.
pub fn replace_with(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let aside = with_suffix(path, ".new");
    let done = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        write(&mut file)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    })();
    done.map_err(|error| at(path, &error))
}

/// Replaces `path` with `content` under a digest; [`unseal`] reads it back.
///
/// # Errors
/// As the system says, with the path; the old content is untouched.
pub fn seal(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_with(path, |file| {
        file.write_all(&MAGIC)?;
        file.write_all(blake3::hash(content).as_bytes())?;
        file.write_all(content)
    })
}

/// What [`unseal`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Sealed {
    /// No file.
    Missing,
    /// What was sealed.
    Whole(Vec<u8>),
    /// Something else: it now has the suffix `.bad`, and the text says what is wrong with it.
    SetAside(String),
}

/// Reads a file that [`seal`] wrote. One that is damaged or of another version is set aside, never used.
///
/// # Errors
/// As the system says, with the path.
pub fn unseal(path: &Path) -> io::Result<Sealed> {
    let mut bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Sealed::Missing),
        Err(error) => return Err(at(path, &error)),
    };
    let fault = if !bytes.starts_with(&MAGIC) {
        "it is no file of this version".to_owned()
    } else if bytes.len() < MAGIC.len() + DIGEST {
        format!("it ends after {} bytes", bytes.len())
    } else {
        let content = &bytes[MAGIC.len() + DIGEST..];
        if blake3::hash(content).as_bytes() == &bytes[MAGIC.len()..MAGIC.len() + DIGEST] {
            return Ok(Sealed::Whole(bytes.split_off(MAGIC.len() + DIGEST)));
        }
        "its digest does not match its content".to_owned()
    };
    let bad = set_aside(path)?;
    Ok(Sealed::SetAside(format!("{} is not usable: {fault}; kept as {}", path.display(), bad.display())))
}

/// Renames `path` to the same name with `.bad`, and says which name that is.
///
/// # Errors
/// As the system says, with the path.
pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let bad = with_suffix(path, ".bad");
    fs::rename(path, &bad).map_err(|error| at(path, &error))?;
    Ok(bad)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The same error with the path in its text.
pub fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_sealed_is_read_back_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        assert_eq!(unseal(&path).unwrap(), Sealed::Missing);
        for content in [&b"one"[..], b"", b"three"] {
            seal(&path, content).unwrap();
            assert_eq!(unseal(&path).unwrap(), Sealed::Whole(content.to_vec()));
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        private_directory(&directory.path().join("a/b")).unwrap();
        assert_eq!(fs::metadata(directory.path().join("a/b")).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_leftover_of_a_killed_write_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        seal(&path, b"good").unwrap();
        fs::write(directory.path().join("file.new"), b"half").unwrap();
        assert_eq!(unseal(&path).unwrap(), Sealed::Whole(b"good".to_vec()));
        seal(&path, b"better").unwrap();
        assert_eq!(unseal(&path).unwrap(), Sealed::Whole(b"better".to_vec()));
    }

    proptest! {
        /// Any flipped bit and any cut is noticed, the file kept aside and never used.
        #[test]
        fn damage_is_never_used(content in proptest::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), bit in 0..8, cut in any::<bool>()) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("file");
            seal(&path, &content).unwrap();
            let mut bytes = fs::read(&path).unwrap();
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] ^= 1_u8 << bit }
            fs::write(&path, &bytes).unwrap();
            let found = unseal(&path).unwrap();
            prop_assert!(matches!(found, Sealed::SetAside(_)), "{found:?}");
            prop_assert_eq!(fs::read(directory.path().join("file.bad")).unwrap(), bytes);
            prop_assert_eq!(unseal(&path).unwrap(), Sealed::Missing);
        }
    }
}
