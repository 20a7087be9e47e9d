-- Who leads in what among routers. Rows stay for ever, so that epochs only ever rise.
CREATE TABLE leases (
    name            text PRIMARY KEY,
    -- The router process that leads; whether it still does is for expire_time to say.
    holder          text NOT NULL,
    -- Rises with every new term; an effect that carries an earlier one is refused.
    epoch           bigint NOT NULL DEFAULT 1,
    expire_time     timestamptz NOT NULL,
    refused_count   bigint NOT NULL DEFAULT 0
);
