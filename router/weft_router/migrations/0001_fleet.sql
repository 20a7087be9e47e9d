-- Fleet state that outlives routers. Every change of nodes, replicas or models takes a number from fleet_sequence
-- under one lock, so numbers become visible in their own order and a reader of "all above N" misses nothing.
CREATE SEQUENCE fleet_sequence;

CREATE TABLE nodes (
    id              text PRIMARY KEY,
    name            text NOT NULL UNIQUE,
    state           text NOT NULL,
    approved        boolean NOT NULL,
    address         text NOT NULL,
    -- weft.types.v1.Node as the worker last described it; state, id and name are those of the columns.
    description     bytea NOT NULL,
    token_sha256    bytea NOT NULL,
    generation      bigint NOT NULL DEFAULT 1,
    sequence        bigint NOT NULL,
    gone            boolean NOT NULL DEFAULT false,
    create_time     timestamptz NOT NULL DEFAULT now(),
    update_time     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX nodes_sequence ON nodes (sequence);

CREATE TABLE replicas (
    id              text PRIMARY KEY,
    model           text NOT NULL,
    replica_index   integer NOT NULL,
    revision        text NOT NULL,
    node_id         text NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    state           text NOT NULL,
    -- weft.types.v1.Replica; the columns repeat what queries need.
    description     bytea NOT NULL,
    sequence        bigint NOT NULL,
    -- A gone row stays for a while, so that other routers learn of its end.
    gone            boolean NOT NULL DEFAULT false,
    update_time     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX replicas_sequence ON replicas (sequence);
CREATE UNIQUE INDEX replicas_place ON replicas (node_id, model, replica_index) WHERE NOT gone;

CREATE TABLE models (
    name            text PRIMARY KEY,
    revision        text NOT NULL,
    -- weft.types.v1.Model.
    description     bytea NOT NULL,
    sequence        bigint NOT NULL,
    gone            boolean NOT NULL DEFAULT false,
    create_time     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX models_sequence ON models (sequence);
