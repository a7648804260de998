//! What is kept beside the log, in the words that both databases understand: secrets, tokens, who may connect.
use axle_core::model::Uid;
use sqlx::Row;

use super::{Enrolment, PersonToken, StoreError, TokenRow, exact, signed, unsigned};

/// For how long a person's token that is over is still noted, in milliseconds: whoever verifies may have a clock that is late.
const KEPT_MS: u64 = 60_000;

macro_rules! beside {
    ($database:ident, $pool:ty) => {
        /// See the module above.
        pub(super) mod $database {
            use super::*;

            pub(in crate::store) async fn secret(pool: &$pool, name: &str, value: &str) -> Result<String, StoreError> {
                let kept = "SELECT value FROM secrets WHERE name = $1";
                if let Some(row) = sqlx::query(kept).bind(name).fetch_optional(pool).await? {
                    return Ok(row.try_get(0)?);
                }
                let sql = "INSERT INTO secrets VALUES ($1, $2) ON CONFLICT DO NOTHING";
                sqlx::query(sql).bind(name).bind(value).execute(pool).await?;
                Ok(sqlx::query(kept).bind(name).fetch_one(pool).await?.try_get(0)?)
            }

            pub(in crate::store) async fn exchange_secret(
                pool: &$pool,
                name: &str,
                from: &str,
                to: &str,
            ) -> Result<bool, StoreError> {
                let sql = "UPDATE secrets SET value = $3 WHERE name = $1 AND value = $2";
                Ok(sqlx::query(sql).bind(name).bind(from).bind(to).execute(pool).await?.rows_affected() == 1)
            }

            pub(in crate::store) async fn add_person_token(
                pool: &$pool,
                token: &PersonToken,
            ) -> Result<(), StoreError> {
                let over = signed(token.issued_ms.saturating_sub(KEPT_MS));
                sqlx::query("DELETE FROM person_tokens WHERE expires_ms < $1").bind(over).execute(pool).await?;
                sqlx::query("INSERT INTO person_tokens VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING")
                    .bind(&token.id)
                    .bind(&token.subject)
                    .bind(&token.role)
                    .bind(signed(token.issued_ms))
                    .bind(signed(token.expires_ms))
                    .bind(&token.creator)
                    .bind(signed(token.revoked_ms))
                    .execute(pool)
                    .await?;
                Ok(())
            }

            pub(in crate::store) async fn person_tokens(pool: &$pool) -> Result<Vec<PersonToken>, StoreError> {
                let sql = "SELECT id, subject, role, issued_ms, expires_ms, creator, revoked_ms FROM person_tokens \
                           ORDER BY issued_ms, id";
                let mut tokens = Vec::new();
                for row in sqlx::query(sql).fetch_all(pool).await? {
                    tokens.push(PersonToken {
                        id: row.try_get(0)?,
                        subject: row.try_get(1)?,
                        role: row.try_get(2)?,
                        issued_ms: unsigned(row.try_get(3)?)?,
                        expires_ms: unsigned(row.try_get(4)?)?,
                        creator: row.try_get(5)?,
                        revoked_ms: unsigned(row.try_get(6)?)?,
                    });
                }
                Ok(tokens)
            }

            pub(in crate::store) async fn revoke_person_token(
                pool: &$pool,
                id: &str,
                now_ms: u64,
            ) -> Result<bool, StoreError> {
                let sql = "UPDATE person_tokens SET revoked_ms = $2 WHERE id = $1 AND revoked_ms = 0";
                Ok(sqlx::query(sql).bind(id).bind(signed(now_ms)).execute(pool).await?.rows_affected() == 1)
            }

            pub(in crate::store) async fn add_token(pool: &$pool, token: &TokenRow) -> Result<(), StoreError> {
                sqlx::query("INSERT INTO join_tokens VALUES ($1, $2, $3, $4)")
                    .bind(token.digest.to_vec())
                    .bind(token.cluster.0.to_vec())
                    .bind(signed(token.expires_ms))
                    .bind(&token.creator)
                    .execute(pool)
                    .await?;
                Ok(())
            }

            pub(in crate::store) async fn join_token(
                pool: &$pool,
                digest: &[u8; 32],
            ) -> Result<Option<TokenRow>, StoreError> {
                let sql = "SELECT cluster, expires_ms, creator FROM join_tokens WHERE digest = $1";
                let Some(row) = sqlx::query(sql).bind(digest.to_vec()).fetch_optional(pool).await? else {
                    return Ok(None);
                };
                Ok(Some(TokenRow {
                    digest: *digest,
                    cluster: Uid(exact("a uid", row.try_get(0)?)?),
                    expires_ms: unsigned(row.try_get(1)?)?,
                    creator: row.try_get(2)?,
                }))
            }

            pub(in crate::store) async fn enrolments(pool: &$pool) -> Result<Vec<Enrolment>, StoreError> {
                let sql = "SELECT cluster, relay_key, enrolled_ms FROM enrolments";
                let mut enrolments = Vec::new();
                for row in sqlx::query(sql).fetch_all(pool).await? {
                    enrolments.push(Enrolment {
                        cluster: Uid(exact("a uid", row.try_get(0)?)?),
                        relay_key: exact("a key's hash", row.try_get(1)?)?,
                        enrolled_ms: unsigned(row.try_get(2)?)?,
                    });
                }
                Ok(enrolments)
            }
        }
    };
}

beside!(sqlite, sqlx::SqlitePool);
beside!(postgres, sqlx::PgPool);
