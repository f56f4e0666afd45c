-- The journal of a Dugnad database, format 3. docs/formats/journal.md explains each table.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE holder (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE kind (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE commits (number INTEGER PRIMARY KEY, time_us INTEGER NOT NULL, holder INTEGER NOT NULL);
CREATE INDEX commits_by_time ON commits (time_us);
CREATE TABLE resource (
    ordinal INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    holder INTEGER NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL, -- of the head; 0: referred to, not yet written
    head INTEGER NOT NULL,    -- sequence of the newest version, 0 if there is none
    patient INTEGER           -- patient ordinal, for patients
);
CREATE UNIQUE INDEX resource_by_id ON resource (id, kind, holder);
CREATE UNIQUE INDEX resource_by_patient ON resource (patient) WHERE patient IS NOT NULL;
CREATE TABLE version (
    sequence INTEGER PRIMARY KEY, -- in the order of commits
    resource INTEGER NOT NULL,
    number INTEGER NOT NULL,      -- meta.versionId
    commit_number INTEGER NOT NULL,
    previous INTEGER NOT NULL,    -- sequence of the version before, 0 if there is none
    json BLOB,                    -- NULL: deleted; TEXT instead of BLOB: erased
    method INTEGER                -- 0: POST, 1: PATCH; NULL: PUT, or DELETE where json is NULL
);
CREATE TABLE identifier (hash INTEGER NOT NULL, resource INTEGER NOT NULL, PRIMARY KEY (hash, resource)) WITHOUT ROWID;
CREATE TABLE person_identifier ( -- national identifiers of current Patients
    hash BLOB NOT NULL, patient INTEGER NOT NULL, PRIMARY KEY (hash, patient)
) WITHOUT ROWID;
CREATE INDEX person_identifier_by_patient ON person_identifier (patient);
CREATE TABLE person_link (patient INTEGER NOT NULL, other INTEGER NOT NULL, PRIMARY KEY (patient, other)) WITHOUT ROWID;
CREATE INDEX person_link_by_other ON person_link (other);
CREATE TABLE person_change ( -- from which commit on a patient is part of which person (a patient ordinal)
    sequence INTEGER PRIMARY KEY, commit_number INTEGER NOT NULL, patient INTEGER NOT NULL, person INTEGER NOT NULL
);
CREATE TABLE idempotency (
    holder INTEGER NOT NULL, key TEXT NOT NULL, commit_number INTEGER NOT NULL, PRIMARY KEY (holder, key)
) WITHOUT ROWID;
CREATE TABLE erasure (
    person BLOB PRIMARY KEY,        -- keyed hash of holder and Patient id
    patient INTEGER,                -- patient ordinal, NULL: not known here
    commit_number INTEGER NOT NULL,
    reason TEXT NOT NULL,
    until INTEGER NOT NULL,         -- highest sequence of version at the erasure
    done_us INTEGER                 -- when its last trace was overwritten, NULL: that is under way
) WITHOUT ROWID;
