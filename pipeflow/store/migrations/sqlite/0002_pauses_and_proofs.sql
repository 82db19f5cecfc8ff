-- What a person paused (an account's company, a handler, a record), and what each reconciliation proved.

CREATE TABLE pauses (
    what TEXT NOT NULL,
    company INTEGER NOT NULL,
    handler TEXT NOT NULL,
    kind TEXT NOT NULL,
    record_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    paused_at REAL NOT NULL,
    PRIMARY KEY (what, company, handler, kind, record_id)
) WITHOUT ROWID;

CREATE TABLE proofs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    company INTEGER NOT NULL,
    kinds TEXT NOT NULL,
    since REAL NOT NULL,
    until REAL NOT NULL,
    changes INTEGER NOT NULL,
    known INTEGER NOT NULL,
    added INTEGER NOT NULL,
    proven_at REAL NOT NULL,
    error TEXT
);
CREATE INDEX proofs_by_company ON proofs (company, id);
