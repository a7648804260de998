//! The last link of the node's CNI chain: a plugin that gives a pod its network only once the agent protects it.
//!
//! The runtime uses the first configuration in its folder. The plugin is added to that one, whoever wrote it, and again
//! when they write it anew. What else stands in it stays.
use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::{disk, problems::Problems};

/// The plugin's type, which is its file's name.
const PLUGIN: &str = "axle-cni";
/// How often the chain is looked at in case that a change was not told.
const RESCAN: Duration = Duration::from_secs(10);

/// What becomes of a pod that is not protected in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Unprotected {
    /// It gets no network; the kubelet tries again.
    Refused,
    /// It starts all the same.
    Allowed,
}

/// Where the chain is, and what is put into it.
#[derive(Debug, Clone)]
pub struct Chain {
    /// The folder of the runtime's configurations, such as `/etc/cni/net.d`.
    pub configurations: PathBuf,
    /// The folder of its plugins, such as `/opt/cni/bin`.
    pub plugins: PathBuf,
    /// The plugin's program, to be copied there.
    pub program: PathBuf,
    /// How long a pod waits.
    pub wait: Duration,
    /// And after that.
    pub unprotected: Unprotected,
}

/// Why the chain is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// No CNI was set up yet.
    #[error("{0} has no CNI configuration yet: it is chained once there is one")]
    None(PathBuf),
    /// The first configuration is none that plugins can be added to.
    #[error("{file} {why}: pods of this node start without waiting for their protection")]
    NoChain {
        /// The configuration.
        file: PathBuf,
        /// What it is.
        why: String,
    },
    /// The system refused.
    #[error("the CNI chain cannot be changed: {0}")]
    System(#[from] io::Error),
}

impl Chain {
    /// Puts program and plugin there; what is there already stays as it is. The configuration that has it. `socket` is the
    /// agent's, by the path that it has on the node.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub fn install(&self, socket: &Path) -> Result<PathBuf, ChainError> {
        self.install_program()?;
        let file = self.first()?;
        let no_chain = |why: String| ChainError::NoChain { file: file.clone(), why };
        if file.extension().is_none_or(|extension| extension != "conflist") {
            return Err(no_chain("is for one plugin and no list of plugins (.conflist)".into()));
        }
        let text = fs::read_to_string(&file).map_err(|error| disk::at(&file, &error))?;
        let mut list: Value =
            serde_json::from_str(&text).map_err(|error| no_chain(format!("is not JSON ({error})")))?;
        let plugins = list["plugins"].as_array_mut().filter(|plugins| !plugins.is_empty());
        let plugins = plugins.ok_or_else(|| no_chain("has no plugins".into()))?;
        let ours = self.entry(socket);
        if plugins.last() != Some(&ours) {
            plugins.retain(|plugin| !is_ours(plugin));
            plugins.push(ours);
            rewrite(&file, &list)?;
        }
        Ok(file)
    }

    /// Keeps it there, and says why where it is not.
    pub async fn keep_installed(self, socket: PathBuf, problems: Problems) {
        let changed = Arc::new(Notify::new());
        let _watcher = watch(&self.configurations, &changed);
        loop {
            let why = self.install(&socket).err().map(|error| error.to_string());
            problems.set("the CNI chain", why.into_iter().collect());
            tokio::select! {
                () = changed.notified() => {}
                () = tokio::time::sleep(RESCAN) => {}
            }
        }
    }

    fn entry(&self, socket: &Path) -> Value {
        let unprotected = match self.unprotected {
            Unprotected::Refused => "refused",
            Unprotected::Allowed => "allowed",
        };
        json!({"type": PLUGIN, "socket": socket, "waitSeconds": self.wait.as_secs(), "unprotected": unprotected})
    }

    fn install_program(&self) -> io::Result<()> {
        let program = fs::read(&self.program).map_err(|error| disk::at(&self.program, &error))?;
        let target = self.plugins.join(PLUGIN);
        if fs::read(&target).is_ok_and(|there| there == program) {
            return Ok(());
        }
        disk::replace_with(&target, |file| {
            io::Write::write_all(file, &program)?;
            file.set_permissions(fs::Permissions::from_mode(0o755))
        })
    }

    /// The configuration that the runtime uses. Source: `ConfFiles` of libcni, and its callers, which take the first.
    fn first(&self) -> Result<PathBuf, ChainError> {
        files(&self.configurations)?.into_iter().next().ok_or_else(|| ChainError::None(self.configurations.clone()))
    }
}

/// Takes the plugin out of all configurations, and then its program away. How many had it.
///
/// # Errors
/// As the system says.
pub fn remove(configurations: &Path, plugins: &Path) -> io::Result<usize> {
    let mut changed = 0;
    for file in files(configurations)? {
        let text = fs::read_to_string(&file).map_err(|error| disk::at(&file, &error))?;
        let Ok(mut list) = serde_json::from_str::<Value>(&text) else { continue };
        let Some(chained) = list["plugins"].as_array_mut() else { continue };
        let before = chained.len();
        chained.retain(|plugin| !is_ours(plugin));
        if chained.len() < before {
            rewrite(&file, &list)?;
            changed += 1;
        }
    }
    match fs::remove_file(plugins.join(PLUGIN)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(changed),
    }
}

fn files(configurations: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(configurations).map_err(|error| disk::at(configurations, &error))?;
    let is_one = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("conf" | "conflist" | "json")) && path.is_file()
    };
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(is_one).collect();
    files.sort();
    Ok(files)
}

fn is_ours(plugin: &Value) -> bool {
    plugin["type"] == PLUGIN
}

/// With the permissions that the file has.
fn rewrite(file: &Path, list: &Value) -> io::Result<()> {
    let permissions = fs::metadata(file)?.permissions();
    let text = serde_json::to_vec_pretty(list)?;
    disk::replace_with(file, |file| {
        io::Write::write_all(file, &text)?;
        file.set_permissions(permissions)
    })
}

fn watch(folder: &Path, changed: &Arc<Notify>) -> Option<RecommendedWatcher> {
    let changed = Arc::clone(changed);
    let told = move |event: notify::Result<notify::Event>| {
        if event.map_or(true, |event| !event.kind.is_access()) {
            changed.notify_one();
        }
    };
    let watcher = notify::recommended_watcher(told).and_then(|mut watcher| {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    watcher.inspect_err(|error| tracing::debug!(%error, "the CNI chain is polled, not watched")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKET: &str = "/run/axle/agent.sock";
    const BRIDGE: &str =
        r#"{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge", "mtu": 1400}, {"type": "portmap"}]}"#;

    fn chain(folder: &Path) -> Chain {
        for sub in ["net.d", "bin"] {
            fs::create_dir_all(folder.join(sub)).unwrap();
        }
        fs::write(folder.join("program"), "a program").unwrap();
        Chain {
            configurations: folder.join("net.d"),
            plugins: folder.join("bin"),
            program: folder.join("program"),
            wait: Duration::from_secs(7),
            unprotected: Unprotected::Refused,
        }
    }

    fn types(file: &Path) -> Vec<String> {
        let list: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        list["plugins"].as_array().unwrap().iter().map(|plugin| plugin["type"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_plugin_is_last_in_the_first_configuration_and_everything_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let mut chain = chain(folder.path());
        let (first, second) = (chain.configurations.join("05-a.conflist"), chain.configurations.join("10-b.conflist"));
        fs::write(&first, BRIDGE).unwrap();
        fs::set_permissions(&first, fs::Permissions::from_mode(0o640)).unwrap();
        fs::write(&second, BRIDGE).unwrap();
        fs::write(chain.configurations.join("00-notes.txt"), "").unwrap();
        assert_eq!(chain.install(SOCKET.as_ref()).unwrap(), first);
        assert_eq!(types(&first), ["bridge", "portmap", "axle-cni"]);
        assert_eq!(fs::read_to_string(&second).unwrap(), BRIDGE);
        let mode = |file: &Path| fs::metadata(file).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&first), mode(&chain.plugins.join("axle-cni"))), (0o640, 0o755));
        let list: Value = serde_json::from_str(&fs::read_to_string(&first).unwrap()).unwrap();
        assert_eq!(list["plugins"][0]["mtu"], 1400);
        let wanted =
            json!({"type": "axle-cni", "socket": "/run/axle/agent.sock", "waitSeconds": 7, "unprotected": "refused"});
        assert_eq!(list["plugins"][2], wanted);

        // Once there it is left alone, and other settings take its place.
        let made = fs::metadata(&first).unwrap().modified().unwrap();
        chain.install(SOCKET.as_ref()).unwrap();
        assert_eq!(fs::metadata(&first).unwrap().modified().unwrap(), made);
        chain.unprotected = Unprotected::Allowed;
        chain.install(SOCKET.as_ref()).unwrap();
        assert_eq!(types(&first), ["bridge", "portmap", "axle-cni"]);

        assert_eq!(remove(&chain.configurations, &chain.plugins).unwrap(), 1);
        assert_eq!(types(&first), ["bridge", "portmap"]);
        assert!(!chain.plugins.join("axle-cni").exists());
        assert_eq!(remove(&chain.configurations, &chain.plugins).unwrap(), 0);
    }

    #[test]
    fn what_is_no_chain_is_left_as_it_is_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let chain = chain(folder.path());
        assert!(chain.install(SOCKET.as_ref()).unwrap_err().to_string().contains("no CNI configuration yet"));
        let file = chain.configurations.join("10-a.conflist");
        for (text, why) in [
            ("{", "is not JSON"),
            ("{}", "has no plugins"),
            (r#"{"plugins": {}}"#, "has no plugins"),
            (r#"{"plugins": []}"#, "has no plugins"),
        ] {
            fs::write(&file, text).unwrap();
            let said = chain.install(SOCKET.as_ref()).unwrap_err().to_string();
            assert!(said.contains(why) && said.contains("10-a.conflist"), "{said}");
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        fs::write(chain.configurations.join("05-one.conf"), r#"{"type": "bridge"}"#).unwrap();
        assert!(chain.install(SOCKET.as_ref()).unwrap_err().to_string().contains("05-one.conf is for one plugin"));
        assert_eq!(remove(&chain.configurations, &chain.plugins).unwrap(), 0, "what cannot be read is none of ours");
    }

    #[tokio::test]
    async fn who_writes_the_configuration_anew_does_not_take_it_out() {
        let folder = tempfile::tempdir().unwrap();
        let chain = chain(folder.path());
        let file = chain.configurations.join("10-a.conflist");
        let kept = tokio::spawn(chain.keep_installed(SOCKET.into(), Problems::default()));
        for _ in 0..3 {
            fs::write(&file, BRIDGE).unwrap();
            let chained = async {
                while !fs::read_to_string(&file).unwrap().contains(PLUGIN) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), chained).await.unwrap();
        }
        kept.abort();
    }
}
