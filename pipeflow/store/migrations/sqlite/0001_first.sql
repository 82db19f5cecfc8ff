-- The first schema. Times are seconds since 1970; lists and mappings are JSON.

-- One row: how many events there are, so that counting costs nothing; the last id that a purged event had, so that no id
-- is used twice; and the last id of a run.
CREATE TABLE counters (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    events INTEGER NOT NULL,
    purged_event_id INTEGER NOT NULL,
    run_id INTEGER NOT NULL
);
INSERT INTO counters VALUES (1, 0, 0, 0);

-- What happened. The bodies live apart, so that a dispatch rewrites a small row and a listing reads small rows.
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL,
    company INTEGER NOT NULL,
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    record_id TEXT NOT NULL,
    action TEXT NOT NULL,
    source TEXT NOT NULL,
    status TEXT NOT NULL,
    partition INTEGER NOT NULL,
    bulk INTEGER NOT NULL,
    size INTEGER NOT NULL,
    received_at REAL NOT NULL,
    occurred_at REAL,
    update_time REAL,
    delivery_id TEXT,
    actor_id TEXT,
    dispatched_at REAL,
    stale INTEGER NOT NULL DEFAULT 0,
    cause_run_id INTEGER,
    names TEXT,
    chain TEXT
);
-- 16 bytes of a hash of company and key: a third of the size of an index on the text.
CREATE UNIQUE INDEX events_by_digest ON events (digest);
CREATE INDEX events_by_status ON events (status, id) WHERE status <> 'dispatched';
-- What searches read, from its end to its beginning. It grows at its end only: indexes in the order of records or names
-- would have each event rewrite pages of their own, for questions that only people ask.
CREATE INDEX events_in_brief ON events (id, received_at, record_id, kind, company);

CREATE TABLE bodies (
    event_id INTEGER PRIMARY KEY,
    raw BLOB NOT NULL
);

-- The way in: one statement stores many events with their bodies, and a known one (same digest) not again.
CREATE VIEW incoming AS
SELECT id, digest, company, key, name, kind, record_id, action, source, status, partition, bulk, received_at, occurred_at,
    update_time, delivery_id, actor_id, raw
FROM events JOIN bodies ON event_id = id;

CREATE TRIGGER store_event INSTEAD OF INSERT ON incoming BEGIN
    SELECT RAISE(ABORT, 'another process stored events under these ids') WHERE NEW.id <= (SELECT max(id) FROM events);
    INSERT INTO events (id, digest, company, key, name, kind, record_id, action, source, status, partition, bulk, size,
        received_at, occurred_at, update_time, delivery_id, actor_id)
    VALUES (NEW.id, NEW.digest, NEW.company, NEW.key, NEW.name, NEW.kind, NEW.record_id, NEW.action, NEW.source,
        NEW.status, NEW.partition, NEW.bulk, length(NEW.raw), NEW.received_at, NEW.occurred_at, NEW.update_time,
        NEW.delivery_id, NEW.actor_id)
    ON CONFLICT (digest) DO NOTHING;
    INSERT INTO bodies (event_id, raw) SELECT NEW.id, NEW.raw WHERE changes() = 1;
    UPDATE counters SET events = events + changes();
END;

-- The last state of each record that events told; outlives the events.
CREATE TABLE records (
    company INTEGER NOT NULL,
    kind TEXT NOT NULL,
    record_id TEXT NOT NULL,
    update_time REAL,
    source TEXT NOT NULL,
    deleted INTEGER NOT NULL,
    state BLOB,
    UNIQUE (company, kind, record_id)
);

-- One handler on one event. Open while finished_at is NULL. `tries` counts all attempts, `attempts` those that count.
-- `suspect`: its last attempt died with its process.
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    event_id INTEGER NOT NULL,
    handler TEXT NOT NULL,
    lane TEXT,
    company INTEGER NOT NULL,
    kind TEXT NOT NULL,
    record_id TEXT NOT NULL,
    partition INTEGER NOT NULL,
    status TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at REAL,
    error TEXT,
    replay_of INTEGER,
    created_at REAL NOT NULL,
    finished_at REAL,
    priority INTEGER NOT NULL,
    crashes INTEGER NOT NULL DEFAULT 0,
    parked INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    suspect INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX runs_once ON runs (event_id, handler) WHERE replay_of IS NULL;
CREATE INDEX runs_replayed ON runs (event_id) WHERE replay_of IS NOT NULL;
-- What may start: a run behind another has no due time and is not in here, however many wait.
CREATE INDEX runs_due ON runs (priority, due_at, id, company, handler)
    WHERE status = 'pending' AND due_at IS NOT NULL AND parked = 0;
CREATE INDEX runs_open ON runs (lane, id) WHERE finished_at IS NULL;
CREATE INDEX runs_running ON runs (id) WHERE status = 'running';
CREATE INDEX runs_dead ON runs (id) WHERE status = 'dead';
CREATE INDEX runs_suspect ON runs (id) WHERE suspect = 1;
CREATE INDEX runs_open_ticks ON runs (handler, company, id) WHERE kind = 'job' AND finished_at IS NULL;
-- What searches read, like events_in_brief.
CREATE INDEX runs_in_brief ON runs (id, handler, created_at);

CREATE TABLE attempts (
    run_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    started_at REAL NOT NULL,
    finished_at REAL,
    outcome TEXT,
    counted INTEGER NOT NULL DEFAULT 0,
    alone INTEGER NOT NULL,
    error TEXT,
    traceback TEXT,
    PRIMARY KEY (run_id, number)
) WITHOUT ROWID;

-- What `run.once` remembers.
CREATE TABLE memories (
    run_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    result BLOB NOT NULL,
    remembered_at REAL NOT NULL,
    PRIMARY KEY (run_id, key)
) WITHOUT ROWID;

CREATE TABLE accounts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    company INTEGER NOT NULL,
    user_id INTEGER NOT NULL,
    mode TEXT NOT NULL,
    status TEXT NOT NULL,
    name TEXT NOT NULL,
    company_name TEXT NOT NULL,
    company_domain TEXT NOT NULL,
    api_domain TEXT NOT NULL,
    timezone TEXT NOT NULL,
    is_admin INTEGER NOT NULL,
    acting INTEGER NOT NULL,
    credentials BLOB,
    expires_at REAL,
    last_used_at REAL,
    paused_until REAL,
    reason TEXT,
    connected_at REAL NOT NULL,
    version INTEGER NOT NULL,
    UNIQUE (company, user_id, mode)
);

CREATE TABLE webhooks (
    id INTEGER NOT NULL,
    company INTEGER NOT NULL,
    account_id INTEGER NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    url TEXT NOT NULL,
    version TEXT NOT NULL,
    name TEXT NOT NULL,
    active INTEGER NOT NULL,
    seen_at REAL NOT NULL,
    PRIMARY KEY (company, id)
) WITHOUT ROWID;

CREATE TABLE fields (
    company INTEGER NOT NULL,
    kind TEXT NOT NULL,
    definitions BLOB NOT NULL,
    saved_at REAL NOT NULL,
    PRIMARY KEY (company, kind)
);

CREATE TABLE writes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id INTEGER,
    handler TEXT NOT NULL,
    chain TEXT NOT NULL,
    account_id INTEGER NOT NULL,
    company INTEGER NOT NULL,
    kind TEXT NOT NULL,
    record_id TEXT,
    operation TEXT NOT NULL,
    "values" BLOB NOT NULL,
    before BLOB,
    intended_at REAL NOT NULL,
    settled_at REAL,
    outcome TEXT,
    answer BLOB
);
CREATE INDEX writes_by_kind ON writes (company, kind, intended_at);
CREATE INDEX writes_by_run ON writes (run_id) WHERE run_id IS NOT NULL;
CREATE INDEX writes_by_time ON writes (intended_at);

CREATE TABLE watermarks (
    company INTEGER NOT NULL,
    kind TEXT NOT NULL,
    value REAL NOT NULL,
    moved_at REAL NOT NULL,
    PRIMARY KEY (company, kind)
) WITHOUT ROWID;
