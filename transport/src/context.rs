//! How a person reaches a hub: the context file of the `axle` command, which the hub writes at its first start and
//! `axle login` afterwards.
use std::{
    env, fs,
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// The `apiVersion` of the file.
const API_VERSION: &str = "axle.dev/v1alpha1";
/// The `kind` of the file.
const KIND: &str = "Config";

/// The context file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContextFile {
    api_version: String,
    kind: String,
    /// The name of the context in use; empty: none.
    #[serde(default)]
    pub current: String,
    /// Each name once.
    #[serde(default)]
    pub contexts: Vec<Context>,
}

/// One hub and who one is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Context {
    /// What the user calls it.
    pub name: String,
    /// The hub's TLS port, such as `https://127.0.0.1:7443`.
    pub hub: String,
    /// The hub's CA, PEM: nothing else is trusted.
    pub ca: String,
    /// The JWT that says who the user is.
    pub token: String,
}

/// Why a context file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// It cannot be read or written.
    #[error("{path}: cannot {verb} the context file: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        verb: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{path}: not a context file: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column where they are known.
        reason: String,
    },
    /// It holds a token and others may read it.
    #[error("{path}: others can read this file (mode {mode:03o}), and it holds a token; fix: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There is no home to look for it.
    #[error("cannot tell where the context file is: neither AXLE_CONFIG nor XDG_CONFIG_HOME nor HOME is set")]
    NoHome,
}

impl Default for ContextFile {
    fn default() -> Self {
        Self { api_version: API_VERSION.into(), kind: KIND.into(), current: String::new(), contexts: Vec::new() }
    }
}

impl ContextFile {
    /// Where the file is: `$AXLE_CONFIG`, else `$XDG_CONFIG_HOME/axle/config.yaml`, else `$HOME/.config/axle/config.yaml`.
    ///
    /// # Errors
    /// [`ContextError::NoHome`].
    pub fn default_path() -> Result<PathBuf, ContextError> {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        variable("AXLE_CONFIG")
            .or_else(|| variable("XDG_CONFIG_HOME").map(|dir| dir.join("axle/config.yaml")))
            .or_else(|| variable("HOME").map(|dir| dir.join(".config/axle/config.yaml")))
            .ok_or(ContextError::NoHome)
    }

    /// Reads the file; a missing one is empty.
    ///
    /// # Errors
    /// It cannot be read, is readable by others, or is not a context file.
    pub fn load(path: &Path) -> Result<Self, ContextError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(ContextError::Io { path: path.into(), verb: "read", source }),
        };
        let metadata =
            fs::metadata(path).map_err(|source| ContextError::Io { path: path.into(), verb: "read", source })?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(ContextError::Exposed { path: path.into(), mode });
        }
        let malformed = |reason: String| ContextError::Malformed { path: path.into(), reason };
        let file: Self = serde_saphyr::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        if file.api_version != API_VERSION || file.kind != KIND {
            return Err(malformed(format!(
                "got apiVersion {:?} and kind {:?}, wanted {API_VERSION:?} and {KIND:?}",
                file.api_version, file.kind
            )));
        }
        Ok(file)
    }

    /// What the file says.
    ///
    /// # Errors
    /// Why it cannot be said in YAML.
    pub fn to_text(&self) -> Result<String, String> {
        serde_saphyr::to_string(self).map_err(|error| error.to_string())
    }

    /// Writes the file, mode 0600, by way of a new one beside it, so that a reader sees the old or the new content.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), ContextError> {
        let failed = |source| ContextError::Io { path: path.into(), verb: "write", source };
        let text = self.to_text().map_err(|reason| ContextError::Malformed { path: path.into(), reason })?;
        let aside = path.with_extension(format!("yaml.{}", std::process::id()));
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(failed)?;
        }
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside).map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&aside, path).map_err(failed)
    }

    /// The context with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Context> {
        self.contexts.iter().find(|context| context.name == name)
    }

    /// Adds a context or replaces the one of its name, and makes it the current one.
    pub fn set(&mut self, context: Context) {
        self.current.clone_from(&context.name);
        match self.contexts.iter_mut().find(|old| old.name == context.name) {
            Some(old) => *old = context,
            None => self.contexts.push(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(name: &str) -> Context {
        Context {
            name: name.into(),
            hub: "https://127.0.0.1:7443".into(),
            ca: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".into(),
            token: "a.b.c".into(),
        }
    }

    #[test]
    fn what_is_saved_is_loaded_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/config.yaml");
        let mut file = ContextFile::load(&path).unwrap();
        assert_eq!(file, ContextFile::default(), "a missing file is empty");
        file.set(context("one"));
        file.set(context("two"));
        file.set(Context { token: "d.e.f".into(), ..context("one") });
        file.save(&path).unwrap();
        assert_eq!(ContextFile::load(&path).unwrap(), file);
        assert_eq!((file.current.as_str(), file.contexts.len()), ("one", 2));
        assert_eq!(file.get("one").unwrap().token, "d.e.f");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        ContextFile::default().save(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = ContextFile::load(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn unknown_fields_and_foreign_kinds_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        for (text, wanted) in [
            ("apiVersion: axle.dev/v1alpha1\nkind: Config\ncurent: x\n", "curent"),
            ("apiVersion: v1\nkind: Config\n", "wanted \"axle.dev/v1alpha1\""),
            ("nonsense", "not a context file"),
        ] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let error = ContextFile::load(&path).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
