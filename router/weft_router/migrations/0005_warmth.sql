-- Which models were asked for in which quarter of an hour (by UTC; days count from 1970): what prewarming goes by. Rows
-- are kept for as long as they tell anything, which is three weeks.
CREATE TABLE demand (
    slot            smallint NOT NULL,
    day             integer NOT NULL,
    model           text NOT NULL,
    PRIMARY KEY (slot, day, model)
);
