//! Keeping certificates in force: renewed at half of their life, over a connection of its own, so that sessions go on.
use std::time::{Duration, SystemTime};

use axle_proto::v1::{RenewRequest, enrollment_client::EnrollmentClient};
use axle_transport::tls::{ClientTls, Expect, channel};

use crate::credentials::RoleCredentials;

/// The longest nap: the wall clock may be set meanwhile.
const NAP: Duration = Duration::from_secs(60);
/// The longest wait after a renewal that failed.
const RETRY: Duration = Duration::from_secs(60);
/// How long a renewal may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Renews `credentials` at `address` at half of their life, for ever. `failed` hears of every failure, and of `None` when
/// all is well again.
pub async fn keep_renewed(
    credentials: RoleCredentials,
    address: String,
    expect: Expect,
    failed: impl Fn(Option<String>),
) {
    loop {
        // When they were made is not known after a restart; half of what is left comes soon enough.
        let since = SystemTime::now();
        let left = credentials.not_after().duration_since(since).unwrap_or_default();
        sleep_until(since + left / 2).await;
        let mut attempts = 0_u32;
        while let Err(why) = renew(&credentials, &address, expect.clone()).await {
            attempts += 1;
            tracing::warn!(principal = %credentials.principal(), attempts, error = %why, "certificate renewal failed");
            failed(Some(format!(
                "the certificate of {} cannot be renewed at {address}: {why}",
                credentials.principal()
            )));
            let left = credentials.not_after().duration_since(SystemTime::now()).unwrap_or(RETRY);
            tokio::time::sleep((left / 8).clamp(Duration::from_millis(500), RETRY)).await;
        }
        failed(None);
        tracing::info!(principal = %credentials.principal(), "certificate renewed");
    }
}

async fn sleep_until(due: SystemTime) {
    while let Ok(left) = due.duration_since(SystemTime::now()) {
        if left.is_zero() {
            break;
        }
        tokio::time::sleep(left.min(NAP)).await;
    }
}

async fn renew(credentials: &RoleCredentials, address: &str, expect: Expect) -> Result<(), String> {
    // A relay's own key is what it is known by; the one that it signs its nodes' certificates with is exchanged each time.
    let keys = credentials.next_keys().map_err(|error| error.to_string())?;
    let text = |error: axle_transport::pki::PkiError| error.to_string();
    let request = RenewRequest {
        csr: keys.own.csr().map_err(text)?.into(),
        ca_csr: keys.authority.as_ref().map(|key| key.csr()).transpose().map_err(text)?.unwrap_or_default().into(),
    };
    let tls = ClientTls::mutual(credentials.shared(), expect).map_err(text)?;
    let mut client = EnrollmentClient::new(channel(address, &tls).map_err(text)?);
    let answer =
        tokio::time::timeout(PATIENCE, client.renew(request)).await.map_err(|_| "no answer in 10 s".to_owned())?;
    let granted = answer.map_err(|status| format!("{:?}: {}", status.code(), status.message()))?.into_inner();
    credentials.renew(&keys, &granted).map_err(|error| error.to_string())
}
