-- A node that an admin removed leaves its name to others, and a heartbeat has a moment that every router can read.
ALTER TABLE nodes DROP CONSTRAINT nodes_name_key;
CREATE UNIQUE INDEX nodes_name ON nodes (name) WHERE NOT gone;
ALTER TABLE nodes ADD COLUMN heartbeat_time timestamptz NOT NULL DEFAULT now();

CREATE TABLE policies (
    model           text PRIMARY KEY,
    -- weft.types.v1.Policy.
    description     bytea NOT NULL,
    sequence        bigint NOT NULL,
    gone            boolean NOT NULL DEFAULT false,
    update_time     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX policies_sequence ON policies (sequence);

-- Loads under way, and for some seconds those that failed. Heartbeats and progress take no sequence: they are read where
-- they are asked for.
CREATE TABLE loads (
    id                  text PRIMARY KEY,
    model               text NOT NULL,
    revision            text NOT NULL,
    shared              boolean NOT NULL,
    wanted_node_id      text,
    may_evict           boolean NOT NULL,
    owner               text NOT NULL,
    -- Rises with every owner; a write of an earlier one is refused.
    epoch               bigint NOT NULL DEFAULT 1,
    state               text NOT NULL,
    replica_id          text NOT NULL DEFAULT '',
    node_id             text NOT NULL DEFAULT '',
    progress            double precision NOT NULL DEFAULT 0,
    reason              text NOT NULL DEFAULT '',
    message             text NOT NULL DEFAULT '',
    retry_after_seconds double precision NOT NULL DEFAULT 0,
    start_time          timestamptz NOT NULL DEFAULT now(),
    progress_time       timestamptz NOT NULL DEFAULT now(),
    heartbeat_time      timestamptz NOT NULL DEFAULT now(),
    sequence            bigint NOT NULL,
    gone                boolean NOT NULL DEFAULT false
);
CREATE INDEX loads_sequence ON loads (sequence);
-- However many routers are asked at once, a model has one load that its waiters share.
CREATE UNIQUE INDEX loads_shared ON loads (model) WHERE shared AND NOT gone;
