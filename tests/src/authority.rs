//! A root of certificates, and the kubeconfigs made of them.
use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;

/// A root of certificates, such as a cluster's, and the folder that they are in.
#[derive(Debug)]
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    /// A new root, in `ca.crt` and `ca.key`.
    pub(crate) fn create(folder: &Path) -> anyhow::Result<Self> {
        fs::DirBuilder::new()
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "axle-tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        fs::write(folder.join("ca.crt"), issuer.pem())?;
        fs::write(folder.join("ca.key"), issuer.key().serialize_pem())?;
        Ok(Self { issuer, folder: folder.to_owned() })
    }

    /// A file of the folder, such as `ca.crt`.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A certificate for both ends of TLS, in `<name>.crt` and `<name>.key`. The API server takes its bearer for the
    /// user `user` in the group `group`; a server proves with it that it is one of `hosts` (DNS names and addresses).
    /// Source of the first: Kubernetes, "Authenticating", X.509 client certificates.
    pub(crate) fn sign(&self, name: &str, user: &str, group: Option<&str>, hosts: &[String]) -> anyhow::Result<()> {
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        fs::write(self.file(&format!("{name}.crt")), params.signed_by(&key, &self.issuer)?.pem())?;
        fs::write(self.file(&format!("{name}.key")), key.serialize_pem())?;
        Ok(())
    }

    /// A key pair that signs the tokens of service accounts, in `<name>.key` and `<name>.pub`.
    pub(crate) fn key_pair(&self, name: &str) -> anyhow::Result<()> {
        let key = KeyPair::generate()?;
        fs::write(self.file(&format!("{name}.key")), key.serialize_pem())?;
        fs::write(self.file(&format!("{name}.pub")), key.public_key_pem())?;
        Ok(())
    }

    /// Signs for `user` and writes `<name>.kubeconfig`, which holds all that it takes to speak to the API at `url`.
    pub(crate) fn kubeconfig(&self, name: &str, url: &str, user: &str, group: Option<&str>) -> anyhow::Result<PathBuf> {
        self.sign(name, user, group, &[])?;
        let embed = |file: String| fs::read(self.file(&file)).map(|text| STANDARD.encode(text));
        let cluster = json!({"server": url, "certificate-authority-data": embed("ca.crt".into())?});
        let credentials = json!({
            "client-certificate-data": embed(format!("{name}.crt"))?,
            "client-key-data": embed(format!("{name}.key"))?,
        });
        let document = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "cluster", "cluster": cluster}],
            "users": [{"name": name, "user": credentials}],
            "contexts": [{"name": name, "context": {"cluster": "cluster", "user": name}}],
            "current-context": name,
        });
        let path = self.file(&format!("{name}.kubeconfig"));
        fs::write(&path, document.to_string())?;
        Ok(path)
    }
}
