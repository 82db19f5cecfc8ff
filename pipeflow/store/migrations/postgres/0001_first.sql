-- The first schema; readable from 1. Times are seconds since 1970. Everything is as in SQLite, but for what says why.

CREATE SEQUENCE pipeflow.event_ids;
CREATE SEQUENCE pipeflow.run_ids;

-- How many events there are: a row for each process that stored some, so that none waits for another; their sum counts.
CREATE TABLE pipeflow.counters (
    process text PRIMARY KEY,
    events bigint NOT NULL
);

-- Who works a partition: the epoch rises when somebody takes it, and with an older one nothing can be written. Whatever
-- changes lanes locks the rows of its partitions first, in their order, so that lanes change one after the other.
CREATE TABLE pipeflow.partitions (
    partition integer PRIMARY KEY,
    epoch bigint NOT NULL DEFAULT 0,
    taken_by text,
    taken_at double precision
) WITH (fillfactor = 10);
INSERT INTO pipeflow.partitions (partition) SELECT generate_series(0, 63);

-- What happened. The bodies live apart, so that a dispatch rewrites a small row and a listing reads small rows.
CREATE TABLE pipeflow.events (
    id bigint PRIMARY KEY,
    digest uuid NOT NULL,
    company bigint NOT NULL,
    key text NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    record_id text NOT NULL,
    action text NOT NULL,
    source text NOT NULL,
    status text NOT NULL,
    partition integer NOT NULL,
    bulk boolean NOT NULL,
    size integer NOT NULL,
    received_at double precision NOT NULL,
    occurred_at double precision,
    update_time double precision,
    delivery_id text,
    actor_id text,
    dispatched_at double precision,
    stale boolean NOT NULL DEFAULT false,
    cause_run_id bigint,
    names text[],
    chain text[]
);
CREATE UNIQUE INDEX events_by_digest ON pipeflow.events (digest);
CREATE INDEX events_by_status ON pipeflow.events (status, id) WHERE status <> 'dispatched';
CREATE INDEX events_stored ON pipeflow.events (partition, id) WHERE status = 'stored';
CREATE INDEX events_by_record ON pipeflow.events (record_id, id);
CREATE INDEX events_by_time ON pipeflow.events USING brin (received_at);

CREATE TABLE pipeflow.bodies (
    event_id bigint PRIMARY KEY,
    raw bytea NOT NULL
);

-- The last state of each record that events told, and which of its changes polling told already; outlives the events.
CREATE TABLE pipeflow.records (
    company bigint NOT NULL,
    kind text NOT NULL,
    record_id text COLLATE "C" NOT NULL,
    update_time double precision,
    source text NOT NULL,
    deleted boolean NOT NULL,
    state bytea,
    polled_from double precision,
    polled_to double precision,
    PRIMARY KEY (company, kind, record_id)
) WITH (fillfactor = 80);

-- Bodies and states of usual size stay in their rows, as they are: compressing and fetching them costs more than disk.
ALTER TABLE pipeflow.bodies SET (toast_tuple_target = 8160);
ALTER TABLE pipeflow.records SET (toast_tuple_target = 8160);

-- One handler on one event. Open while finished_at is NULL. `tries` counts all attempts, `attempts` those that count.
-- `suspect`: its last attempt died with its process.
CREATE TABLE pipeflow.runs (
    id bigint PRIMARY KEY,
    event_id bigint NOT NULL,
    handler text NOT NULL,
    lane text,
    company bigint NOT NULL,
    kind text NOT NULL,
    record_id text NOT NULL,
    partition integer NOT NULL,
    status text NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    due_at double precision,
    error text,
    replay_of bigint,
    created_at double precision NOT NULL,
    finished_at double precision,
    priority integer NOT NULL,
    crashes integer NOT NULL DEFAULT 0,
    parked boolean NOT NULL DEFAULT false,
    tries integer NOT NULL DEFAULT 0,
    suspect boolean NOT NULL DEFAULT false
);
CREATE UNIQUE INDEX runs_once ON pipeflow.runs (event_id, handler) WHERE replay_of IS NULL;
CREATE INDEX runs_replayed ON pipeflow.runs (event_id) WHERE replay_of IS NOT NULL;
-- What may start: a run behind another has no due time and is not in here, however many wait.
CREATE INDEX runs_due ON pipeflow.runs (partition, priority, due_at, id)
    WHERE status = 'pending' AND due_at IS NOT NULL AND NOT parked;
CREATE INDEX runs_open ON pipeflow.runs (lane, id) WHERE finished_at IS NULL;
CREATE INDEX runs_running ON pipeflow.runs (partition, id) WHERE status = 'running';
CREATE INDEX runs_dead ON pipeflow.runs (id) WHERE status = 'dead';
CREATE INDEX runs_suspect ON pipeflow.runs (partition, id) WHERE suspect;
CREATE INDEX runs_open_ticks ON pipeflow.runs (handler, company, id) WHERE kind = 'job' AND finished_at IS NULL;
-- What searches read.
CREATE INDEX runs_by_handler ON pipeflow.runs (handler, id);
CREATE INDEX runs_by_time ON pipeflow.runs USING brin (created_at);

CREATE TABLE pipeflow.attempts (
    run_id bigint NOT NULL,
    number integer NOT NULL,
    started_at double precision NOT NULL,
    finished_at double precision,
    outcome text,
    counted boolean NOT NULL DEFAULT false,
    alone boolean NOT NULL,
    error text,
    traceback text,
    PRIMARY KEY (run_id, number)
) WITH (fillfactor = 80);

-- What `run.once` remembers.
CREATE TABLE pipeflow.memories (
    run_id bigint NOT NULL,
    key text NOT NULL,
    result bytea NOT NULL,
    remembered_at double precision NOT NULL,
    PRIMARY KEY (run_id, key)
);

CREATE TABLE pipeflow.accounts (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    company bigint NOT NULL,
    user_id bigint NOT NULL,
    mode text NOT NULL,
    status text NOT NULL,
    name text NOT NULL,
    company_name text NOT NULL,
    company_domain text NOT NULL,
    api_domain text NOT NULL,
    timezone text NOT NULL,
    is_admin boolean NOT NULL,
    acting boolean NOT NULL,
    credentials bytea,
    expires_at double precision,
    last_used_at double precision,
    paused_until double precision,
    reason text,
    connected_at double precision NOT NULL,
    version bigint NOT NULL,
    UNIQUE (company, user_id, mode)
);

CREATE TABLE pipeflow.webhooks (
    id bigint NOT NULL,
    company bigint NOT NULL,
    account_id bigint NOT NULL,
    action text NOT NULL,
    object text NOT NULL,
    url text NOT NULL,
    version text NOT NULL,
    name text NOT NULL,
    active boolean NOT NULL,
    seen_at double precision NOT NULL,
    PRIMARY KEY (company, id)
);

CREATE TABLE pipeflow.fields (
    company bigint NOT NULL,
    kind text NOT NULL,
    definitions bytea NOT NULL,
    saved_at double precision NOT NULL,
    PRIMARY KEY (company, kind)
);

CREATE TABLE pipeflow.writes (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    run_id bigint,
    handler text NOT NULL,
    chain text NOT NULL,
    account_id bigint NOT NULL,
    company bigint NOT NULL,
    kind text NOT NULL,
    record_id text,
    operation text NOT NULL,
    "values" bytea NOT NULL,
    before bytea,
    intended_at double precision NOT NULL,
    settled_at double precision,
    outcome text,
    answer bytea
);
CREATE INDEX writes_by_kind ON pipeflow.writes (company, kind, intended_at);
CREATE INDEX writes_by_run ON pipeflow.writes (run_id) WHERE run_id IS NOT NULL;
CREATE INDEX writes_by_time ON pipeflow.writes (intended_at);

CREATE TABLE pipeflow.watermarks (
    company bigint NOT NULL,
    kind text NOT NULL,
    value double precision NOT NULL,
    moved_at double precision NOT NULL,
    PRIMARY KEY (company, kind)
);

-- What a person paused (an account's company, a handler, a record), and what each reconciliation proved.
CREATE TABLE pipeflow.pauses (
    what text NOT NULL,
    company bigint NOT NULL,
    handler text NOT NULL,
    kind text NOT NULL,
    record_id text NOT NULL,
    reason text NOT NULL,
    paused_at double precision NOT NULL,
    PRIMARY KEY (what, company, handler, kind, record_id)
);

CREATE TABLE pipeflow.proofs (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    company bigint NOT NULL,
    kinds text NOT NULL,
    since double precision NOT NULL,
    until double precision NOT NULL,
    changes bigint NOT NULL,
    known bigint NOT NULL,
    added bigint NOT NULL,
    proven_at double precision NOT NULL,
    error text,
    tokens bigint NOT NULL DEFAULT 0
);
CREATE INDEX proofs_by_company ON pipeflow.proofs (company, id);

-- Who alone does something now (refreshing a token, a job of the framework itself), and until when.
CREATE TABLE pipeflow.leases (
    name text PRIMARY KEY,
    holder text NOT NULL,
    ends_at double precision NOT NULL
);
