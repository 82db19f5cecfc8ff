-- Bodies of one commit share a compressed pack; readable from 2. A pack is named after its first event; `entries` says
-- whose bodies it holds, as [[event id, size], ...]. One without entries is the plain body of the event whose id it has.

ALTER TABLE pipeflow.bodies RENAME COLUMN event_id TO id;
ALTER TABLE pipeflow.bodies RENAME COLUMN raw TO packed;
ALTER TABLE pipeflow.bodies ADD COLUMN entries text;
-- Packs are as small as they get.
ALTER TABLE pipeflow.bodies ALTER COLUMN packed SET STORAGE EXTERNAL;
-- NULL: the event's own id.
ALTER TABLE pipeflow.events ADD COLUMN body_id bigint;

-- How events travel in: many as one parameter. `n` and `first` are the places, among those stored together, of the
-- event itself and of the first one in its pack.
CREATE TYPE pipeflow.incoming AS (
    n integer,
    first integer,
    digest uuid,
    company bigint,
    partition integer,
    bulk boolean,
    size integer,
    received_at double precision,
    occurred_at double precision,
    update_time double precision,
    name text,
    kind text,
    action text,
    source text,
    status text,
    key text,
    record_id text,
    delivery_id text,
    actor_id text
);

-- What waits is in `events_stored`; to write it into a second index costs each delivery.
DROP INDEX pipeflow.events_by_status;
CREATE INDEX events_by_status ON pipeflow.events (status, id) WHERE status NOT IN ('stored', 'dispatched');
