//! Making certificates.
use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use axle_core::model::{Name, Uid};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose, SanType,
    SerialNumber,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

use super::{PkiError, Principal, PrivateKey, PublicKey, chain::Facts};

/// How far certificates are dated back, so that a clock a little behind takes them.
const BACKDATE: Duration = Duration::from_secs(300);

/// From when to when a certificate holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Five minutes before it was made, for clocks that run late.
    pub not_before: SystemTime,
    /// Its last moment.
    pub not_after: SystemTime,
}

impl Validity {
    /// A lifetime that begins at `now`.
    #[must_use]
    pub fn starting(now: SystemTime, lifetime: Duration) -> Self {
        Self { not_before: now - BACKDATE, not_after: now + lifetime }
    }
}

/// A certificate with its key that signs others: the hub's root, or one cluster's intermediate.
#[derive(Debug, Clone)]
pub struct Authority {
    certificate: CertificateDer<'static>,
    key: PrivateKey,
    mesh: Name,
    principal: Option<Principal>,
    common_name: String,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Authority {
    /// A new root of the mesh of this name.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn new_root(mesh: &Name, validity: Validity) -> Result<Self, PkiError> {
        let key = PrivateKey::generate()?;
        let serial = random_serial()?;
        let params = root_params(&format!("axle {mesh} root {serial}"), serial, mesh, validity)?;
        let made = params.self_signed(&*key.0).map_err(|why| PkiError::Making(why.to_string()))?;
        Self::from_parts(made.der().clone(), key)
    }

    /// Puts a certificate and its key together again.
    ///
    /// # Errors
    /// When the certificate is not a root or intermediate of a mesh, or the key is not its key.
    pub fn from_parts(certificate: CertificateDer<'static>, key: PrivateKey) -> Result<Self, PkiError> {
        let facts = Facts::read(&certificate)?;
        if facts.key_fingerprint != key.public()?.fingerprint() {
            return Err(PkiError::Refused("this key does not belong to this certificate".into()));
        }
        let (mesh, principal) = match facts.name()? {
            (mesh, principal @ (None | Some(Principal::Cluster(_)))) => (mesh, principal),
            (_, Some(other)) => return Err(PkiError::Refused(format!("{other} is not a certificate authority"))),
        };
        let Facts { common_name, not_before, not_after, .. } = facts;
        Ok(Self { mesh, principal, common_name, not_before, not_after, certificate, key })
    }

    /// Its certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// The mesh it belongs to.
    #[must_use]
    pub fn mesh(&self) -> &Name {
        &self.mesh
    }

    /// When it was made.
    #[must_use]
    pub fn made(&self) -> SystemTime {
        self.not_before + BACKDATE
    }

    /// Its last moment.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// A leaf certificate, for both ends of TLS, that ends no later than this authority does. `names` are DNS names
    /// and addresses that browsers may reach the hub at; nodes and relays need none.
    ///
    /// # Errors
    /// When this authority must not speak for that principal, or a name is not one.
    pub fn issue(
        &self,
        key: &PublicKey,
        principal: &Principal,
        names: &[String],
        validity: Validity,
    ) -> Result<CertificateDer<'static>, PkiError> {
        let allowed = match (&self.principal, principal) {
            (None, Principal::Hub | Principal::Relay(_)) => true,
            (Some(Principal::Cluster(own)), Principal::Node(cluster, _)) => own == cluster,
            _ => false,
        };
        if !allowed {
            return Err(PkiError::Refused(format!("this authority does not sign for {principal}")));
        }
        let mut params = template(&format!("axle {principal}"), random_serial()?, self.clip(validity));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = vec![uri(principal.uri(&self.mesh))?];
        for name in names {
            params.subject_alt_names.push(host(name)?);
        }
        self.sign(params, key)
    }

    /// The intermediate authority of one cluster, for nodes of that cluster alone.
    ///
    /// # Errors
    /// When this is not the root.
    pub fn issue_intermediate(
        &self,
        key: &PublicKey,
        cluster: Uid,
        validity: Validity,
    ) -> Result<CertificateDer<'static>, PkiError> {
        let principal = Principal::Cluster(cluster);
        if self.principal.is_some() {
            return Err(PkiError::Refused(format!("only the root signs for {principal}")));
        }
        let mut params = template(&format!("axle {principal}"), random_serial()?, self.clip(validity));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.subject_alt_names = vec![uri(principal.uri(&self.mesh))?];
        self.sign(params, key)
    }

    /// The next root as this one vouches for it: a certificate of the next root's name and key, signed by this root.
    /// Whoever trusts this root alone can so follow a chain that hangs from the next.
    ///
    /// # Errors
    /// When one of the two is not a root.
    pub fn vouch_for(&self, next: &Self) -> Result<CertificateDer<'static>, PkiError> {
        if self.principal.is_some() || next.principal.is_some() || self.mesh != next.mesh {
            return Err(PkiError::Refused("only a root vouches for a root, and only within one mesh".into()));
        }
        let validity = Validity { not_before: next.not_before, not_after: next.not_after };
        let params = root_params(&next.common_name, random_serial()?, &self.mesh, self.clip(validity))?;
        self.sign(params, &next.key.public()?)
    }

    fn clip(&self, validity: Validity) -> Validity {
        Validity { not_after: validity.not_after.min(self.not_after), ..validity }
    }

    fn sign(&self, mut params: CertificateParams, key: &PublicKey) -> Result<CertificateDer<'static>, PkiError> {
        let making = |why: rcgen::Error| PkiError::Making(why.to_string());
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &*self.key.0).map_err(making)?;
        Ok(params.signed_by(&key.info, &issuer).map_err(making)?.der().clone())
    }
}

fn root_params(
    common_name: &str,
    serial: SerialNumber,
    mesh: &Name,
    validity: Validity,
) -> Result<CertificateParams, PkiError> {
    let mut params = template(common_name, serial, validity);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names = vec![uri(format!("spiffe://{mesh}"))?];
    Ok(params)
}

fn template(common_name: &str, serial: SerialNumber, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    // X.520 gives a common name 64 characters; who reads it is a person, the URI is what counts.
    let common_name: String = common_name.chars().take(64).collect();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.serial_number = Some(serial);
    params.not_before = OffsetDateTime::from(validity.not_before);
    params.not_after = OffsetDateTime::from(validity.not_after);
    params
}

fn random_serial() -> Result<SerialNumber, PkiError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|why| PkiError::Making(why.to_string()))?;
    // Positive and without a leading zero, as RFC 5280 section 4.1.2.2 wants it.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn uri(text: String) -> Result<SanType, PkiError> {
    text.try_into().map(SanType::URI).map_err(|_| PkiError::Making("a URI must be ASCII".into()))
}

fn host(name: &str) -> Result<SanType, PkiError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let wrong = || PkiError::Making(format!("{name:?} is neither a DNS name nor an address"));
    rustls_pki_types::DnsName::try_from(name).map_err(|_| wrong())?;
    name.to_string().try_into().map(SanType::DnsName).map_err(|_| wrong())
}
