-- Who alone does something now (refreshing a token, a job of the framework itself), and until when.

CREATE TABLE leases (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    ends_at REAL NOT NULL
) WITHOUT ROWID;
