//! The signed manifest of a release: what it is, how it came about, who let it out, and the SHA-256 of its bytes.
//!
//! It is a C2SP signed note of two lines. `docs/formats/release.md` gives it byte by byte.

use super::check::{Finding, FindingKind, MIN_PERSONS};
use super::{Column, FileDigest, Release, ReleaseState, Source};
use crate::audit::{NoteError, VerifierKey, note};
use crate::permit::Basis;
use crate::permit::procedure::Signed;
use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// The manifest's name among the files of a release.
pub const MANIFEST: &str = "manifest";

/// The first line of a manifest.
const FORMAT: &str = "dugnad release v1";

/// Why a release has no manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It was not let out.
    #[error("the release was not approved, so it has no manifest")]
    NotApproved,
    /// It cannot be signed under this name, or does not bear the signature.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// It is signed, but is no manifest of this version.
    #[error("this is no manifest of a release: {0}")]
    Form(String),
}

/// Why files are not those of a release.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A file is not there.
    #[error("{0} is missing")]
    Missing(String),
    /// A file is another one.
    #[error("{0} is not what was released: its length or SHA-256 is another one")]
    Changed(String),
    /// A file is there that the manifest does not name.
    #[error("{0} is not part of the release")]
    Added(String),
}

/// What a manifest says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The release's id.
    pub id: String,
    /// A line that says what it shows.
    pub title: String,
    /// Under which permit.
    pub permit: String,
    /// The permit's basis.
    pub basis: Basis,
    /// The id of the organisation that asked for it.
    pub organisation: String,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// Where the table came from: statement, commit and timeline, or epoch.
    pub source: Source,
    /// How it was checked.
    pub method: Method,
    /// What its columns hold.
    pub columns: Vec<Column>,
    /// How many rows it has.
    pub rows: u64,
    /// What the checks found.
    pub findings: Vec<Finding>,
    /// The kinds of findings that were let through.
    pub accepted: BTreeSet<FindingKind>,
    /// Who let it out, and when.
    pub reviewed: Signed,
    /// Why.
    pub reasons: String,
    /// The ids of organisations that get it too.
    pub recipients: Vec<String>,
    /// Whether anybody gets it.
    pub publish: bool,
    /// The files.
    pub files: Vec<FileDigest>,
}

/// How a release was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Method {
    /// The program's version.
    pub program: String,
    /// How many persons a cell or group must have, so as not to be found.
    pub min_persons: u64,
}

impl Manifest {
    /// The manifest of an approved release.
    pub fn of(release: &Release) -> Result<Self, ManifestError> {
        let document = release.document().clone();
        let approved = document.outcome.filter(|_| release.state() == ReleaseState::Approved).ok_or(ManifestError::NotApproved)?;
        Ok(Self {
            id: document.id,
            title: document.title,
            permit: document.permit,
            basis: document.basis,
            organisation: document.organisation,
            requested_at: document.requested.at,
            source: document.source,
            method: Method { program: document.program, min_persons: MIN_PERSONS },
            columns: document.columns,
            rows: document.rows,
            findings: document.findings,
            accepted: approved.accepts,
            reviewed: approved.signed,
            reasons: approved.reasons,
            recipients: document.recipients,
            publish: document.publish,
            files: document.files,
        })
    }

    /// The signed note; `name` is the signer's.
    pub fn sign(&self, name: &str, key: &SigningKey) -> Result<String, ManifestError> {
        let json = serde_json::to_string(self).map_err(|e| ManifestError::Form(e.to_string()))?;
        Ok(note::sign(&format!("{FORMAT}\n{json}\n"), name, key)?)
    }

    /// Reads a note and checks that `key` signed it.
    pub fn open(signed: &str, key: &VerifierKey) -> Result<Self, ManifestError> {
        let text = note::open(signed, key)?;
        let form = |what: &str| ManifestError::Form(what.to_owned());
        let json =
            text.strip_prefix(FORMAT).and_then(|rest| rest.strip_prefix('\n')).ok_or_else(|| form("its first line is another one"))?;
        let json = json.strip_suffix('\n').filter(|json| !json.contains('\n')).ok_or_else(|| form("it does not have two lines"))?;
        serde_json::from_str(json).map_err(|e| ManifestError::Form(e.to_string()))
    }
}

/// A file's length and SHA-256.
pub fn digest(name: &str, media_type: &str, bytes: &[u8]) -> FileDigest {
    let sha256 = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    FileDigest { name: name.to_owned(), media_type: media_type.to_owned(), bytes: bytes.len() as u64, sha256 }
}

/// Compares files, as (name, bytes), with a manifest: what is wrong with them. The manifest itself is not among them.
pub fn verify_files(manifest: &Manifest, files: &[(String, Vec<u8>)]) -> Vec<VerifyError> {
    let mut wrong = Vec::new();
    for expected in &manifest.files {
        match files.iter().find(|(name, _)| *name == expected.name) {
            None => wrong.push(VerifyError::Missing(expected.name.clone())),
            Some((name, bytes)) if digest(name, &expected.media_type, bytes) != *expected => wrong.push(VerifyError::Changed(name.clone())),
            Some(_) => {}
        }
    }
    let named = |name: &String| manifest.files.iter().any(|file| file.name == *name);
    wrong.extend(files.iter().filter(|(name, _)| !named(name)).map(|(name, _)| VerifyError::Added(name.clone())));
    wrong
}
