//! The audit log: its public files, and its entries for the centre.

use super::auth::Centre;
use super::headers::parameter;
use super::routes::{Caller, Doc, Parameter, Routes};
use super::work::Access;
use super::{ApiError, App, body};
use crate::limits::{MAX_CHECKPOINT_BYTES, MAX_LOG_ENTRIES};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::IntoResponse;
use dugnad_kernel::audit::{CosignError, Proof, Tile};
use dugnad_kernel::fhir::issue::IssueType;
use serde_json::{Value, json};

/// Adds the routes of the audit log.
pub fn add(routes: Routes) -> Routes {
    let checkpoint = Doc {
        description: "A C2SP signed note: origin, size, root hash, Ed25519 signature. Keep one, and `dugnad audit verify --server` proves later that the log has only grown.",
        answer: &["text/plain"],
        statuses: &[(200, "The checkpoint"), (404, "None has been signed yet")],
        ..Doc::new("Audit", "checkpoint", "The newest signed checkpoint of the audit log")
    };
    let tile = Doc {
        description: "C2SP tlog-tiles: `tile/<L>/<N>[.p/<W>]`. Leaves are salted commitments: they say nothing about an entry to whoever was not given it.",
        answer: &["application/octet-stream"],
        statuses: &[(200, "The tile"), (404, "No such tile, or not yet")],
        ..Doc::new("Audit", "tile", "A tile of the audit log's Merkle tree")
    };
    let key = Doc {
        description: "C2SP's verifier key. Keep it: who has it finds a log that was written and signed anew.",
        answer: &["text/plain"],
        ..Doc::new("Audit", "auditKey", "The public key that checks the audit log's checkpoints")
    };
    let rotations = Doc {
        description: "One JSON object a line, the oldest first: `from` and `to`, two verifier keys, and `note`, a checkpoint that both have signed. Whoever keeps an older key finds the present one from it.",
        answer: &["application/x-ndjson"],
        ..Doc::new("Audit", "auditKeyRotations", "The changes of the audit log's key")
    };
    let proof = Doc {
        description: "The entry, its salt, the hashes up to the root, and the signed checkpoint: checked with the log's public key alone.",
        caller: Caller::Centre,
        answer: &["application/json"],
        statuses: &[(200, "The proof"), (403, "For the centre only"), (404, "No checkpoint covers this entry yet")],
        ..Doc::new("Audit", "prove", "Proof that an entry is in the audit log")
    };
    let log = Doc {
        description: "Reading the log is itself on the record.",
        caller: Caller::Centre,
        parameters: &[
            Parameter { place: "query", name: "first", description: "The index of the first entry; by default the last 100 are given." },
            Parameter { place: "query", name: "count", description: "How many entries, at most 1,000." },
        ],
        answer: &["application/json"],
        statuses: &[(200, "The entries, with their indices"), (403, "For the centre only")],
        ..Doc::new("Audit", "log", "Entries of the audit log")
    };
    let cosigned = Doc {
        description: "A C2SP signed note with cosignatures (tlog-cosignature, cosignature/v1) of the witnesses that this server knows. Whoever trusts a witness knows that nobody was shown another history.",
        answer: &["text/plain"],
        statuses: &[(200, "The checkpoint"), (404, "No witness has cosigned one yet")],
        ..Doc::new("Audit", "cosigned", "The newest checkpoint that a witness has cosigned")
    };
    let cosign = Doc {
        description: "The checkpoint as this server signed it, with the witness's signature line after the server's own. Cosignatures of witnesses that are not in the settings are passed over.",
        body: Some("text/plain"),
        answer: &["text/plain"],
        statuses: &[
            (200, "Taken: the checkpoint with all its cosignatures"),
            (400, "Not a checkpoint of this log, or not cosigned by a witness that it knows"),
            (409, "A newer checkpoint has been cosigned already, or this one has not been published"),
        ],
        ..Doc::new("Audit", "cosign", "Hand in a witness's cosignature on a checkpoint")
    };
    routes
        .add(Method::GET, "/audit/checkpoint", checkpoint, newest_checkpoint)
        .add(Method::POST, "/audit/checkpoint", cosign, take_cosignature)
        .add(Method::GET, "/audit/checkpoint/cosigned", cosigned, newest_cosigned)
        .add(Method::GET, "/audit/tile/{*path}", tile, public_tile)
        .add(Method::GET, "/audit/key", key, public_key)
        .add(Method::GET, "/audit/rotations", rotations, key_changes)
        .add(Method::GET, "/audit/proof/{index}", proof, prove)
        .add(Method::GET, "/audit/log", log, entries)
}

const NOTE: &str = "text/plain; charset=utf-8";

async fn newest_checkpoint(State(app): State<App>) -> Result<impl IntoResponse, ApiError> {
    let checkpoint = app.audit().checkpoint();
    if checkpoint.is_empty() {
        return Err(ApiError::not_found("no checkpoint has been signed yet; come back in a minute"));
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], checkpoint))
}

async fn public_tile(State(app): State<App>, Path(path): Path<String>) -> Result<impl IntoResponse, ApiError> {
    let no_such_tile = || ApiError::not_found("there is no such tile; /audit/checkpoint says how large the log is");
    let path = format!("tile/{path}");
    if Tile::parse(&path).is_none() {
        return Err(no_such_tile());
    }
    let place = app.enter_reads().await?;
    let bytes = app.on_thread(place, move |app| Ok(app.audit().public_file(&path)?)).await?;
    let bytes = bytes.ok_or_else(no_such_tile)?;
    // A tile never changes (C2SP tlog-tiles: caching headers should be long-lived).
    let headers = [(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    Ok((headers, bytes))
}

async fn newest_cosigned(State(app): State<App>) -> Result<impl IntoResponse, ApiError> {
    let note = app.audit().cosigned().ok_or_else(|| ApiError::not_found("no witness has cosigned a checkpoint of this log yet"))?;
    Ok(([(header::CONTENT_TYPE, NOTE)], note))
}

async fn take_cosignature(State(app): State<App>, headers: HeaderMap, body: Body) -> Result<impl IntoResponse, ApiError> {
    let (bytes, _held) = body::read(&app, &headers, body, MAX_CHECKPOINT_BYTES).await?.into_parts();
    let note = String::from_utf8(bytes).map_err(|_| ApiError::bad_request(IssueType::Structure, "a checkpoint is UTF-8"))?;
    let place = app.enter_writes().await?;
    let note = app
        .on_thread(place, move |app| {
            app.audit().cosign(&note, &app.settings().witnesses)?;
            Ok(app.audit().cosigned().unwrap_or_default())
        })
        .await?;
    Ok(([(header::CONTENT_TYPE, NOTE)], note))
}

impl From<CosignError> for ApiError {
    fn from(error: CosignError) -> Self {
        let said = error.to_string();
        match error {
            CosignError::Note(_) | CosignError::Unknown => Self::bad_request(IssueType::Invalid, said),
            CosignError::Size { .. } => Self::new(StatusCode::CONFLICT, IssueType::Conflict, said),
            CosignError::Audit(error) => error.into(),
        }
    }
}

async fn public_key(State(app): State<App>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{}\n", app.audit().verifier_key()))
}

async fn key_changes(State(app): State<App>) -> Result<impl IntoResponse, ApiError> {
    let place = app.enter_reads().await?;
    let lines = app.on_thread(place, move |app| Ok(app.audit().public_file("rotations")?)).await?;
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], lines.unwrap_or_default()))
}

async fn prove(State(app): State<App>, Centre(who): Centre, Path(index): Path<String>) -> Result<Json<Proof>, ApiError> {
    let not_there = || ApiError::not_found("no checkpoint covers an entry of this number yet");
    let index: u64 = index.parse().map_err(|_| not_there())?;
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let access = Access { who, interface: "audit", request: format!("GET /audit/proof/{index}"), tables: vec!["audit".to_owned()] };
        let proof = app.read_recorded(&access, |_| {
            let proof = app.audit().prove(index)?;
            let rows = u64::from(proof.is_some());
            Ok((proof, rows))
        })?;
        proof.map(Json).ok_or_else(not_there)
    })
    .await
}

async fn entries(State(app): State<App>, Centre(who): Centre, RawQuery(query): RawQuery) -> Result<Json<Value>, ApiError> {
    let number = |name: &str| -> Result<Option<u64>, ApiError> {
        let wrong = || ApiError::bad_request(IssueType::Value, format!("{name} must be a whole number")).at(format!("query.{name}"));
        parameter(query.as_deref(), name).map(|v| v.parse().map_err(|_| wrong())).transpose()
    };
    let (first, count) = (number("first")?, number("count")?);
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let size = app.audit().size();
        let count = usize::try_from(count.unwrap_or(100)).unwrap_or(usize::MAX).min(MAX_LOG_ENTRIES);
        let first = first.unwrap_or_else(|| size.saturating_sub(count as u64));
        let request = format!("GET /audit/log?first={first}&count={count}");
        let access = Access { who, interface: "audit", request, tables: vec!["audit".to_owned()] };
        let entries = app.read_recorded(&access, |_| {
            let entries = app.audit().entries(first, count)?;
            let rows = entries.len() as u64;
            Ok((entries, rows))
        })?;
        let entries: Vec<Value> = entries.iter().map(|(index, entry)| json!({"index": index, "entry": entry})).collect();
        Ok(Json(json!({"size": size, "entries": entries})))
    })
    .await
}
