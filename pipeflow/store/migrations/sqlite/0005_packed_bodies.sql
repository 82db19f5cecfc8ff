-- Bodies of one commit share a compressed pack, named after its first event; `entries` says whose they are, as
-- [[event id, size], ...]. A pack without entries is the plain body of the event whose id it has.

DROP VIEW incoming;
ALTER TABLE bodies RENAME COLUMN event_id TO id;
ALTER TABLE bodies RENAME COLUMN raw TO packed;
ALTER TABLE bodies ADD COLUMN entries TEXT;
-- NULL: the event's own id.
ALTER TABLE events ADD COLUMN body_id INTEGER;

-- The way in: one statement stores many events, and a known one (same digest) not again. The last row of a pack brings
-- it along, and counts what it holds.
CREATE VIEW incoming AS
SELECT events.id, digest, company, key, name, kind, record_id, action, source, status, partition, bulk, received_at,
    occurred_at, update_time, delivery_id, actor_id, size, body_id, entries, packed
FROM events JOIN bodies ON bodies.id = coalesce(body_id, events.id);

CREATE TRIGGER store_event INSTEAD OF INSERT ON incoming BEGIN
    SELECT RAISE(ABORT, 'another process stored events under these ids') WHERE NEW.id <= (SELECT max(id) FROM events);
    INSERT INTO events (id, digest, company, key, name, kind, record_id, action, source, status, partition, bulk, size,
        received_at, occurred_at, update_time, delivery_id, actor_id, body_id)
    VALUES (NEW.id, NEW.digest, NEW.company, NEW.key, NEW.name, NEW.kind, NEW.record_id, NEW.action, NEW.source,
        NEW.status, NEW.partition, NEW.bulk, NEW.size, NEW.received_at, NEW.occurred_at, NEW.update_time,
        NEW.delivery_id, NEW.actor_id, NEW.body_id)
    ON CONFLICT (digest) DO NOTHING;
    INSERT INTO bodies (id, entries, packed) SELECT NEW.body_id, NEW.entries, NEW.packed
    WHERE NEW.packed IS NOT NULL AND EXISTS (SELECT 1 FROM events WHERE id BETWEEN NEW.body_id AND NEW.id);
    UPDATE counters SET events = events + (SELECT count(*) FROM events WHERE id BETWEEN NEW.body_id AND NEW.id)
    WHERE NEW.packed IS NOT NULL;
END;
