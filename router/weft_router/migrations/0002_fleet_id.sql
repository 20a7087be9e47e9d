-- Tells one database from another: sequences of a fresh one start again, and must not be compared with the old one's.
CREATE TABLE fleet (
    id              text PRIMARY KEY DEFAULT gen_random_uuid()::text
);
INSERT INTO fleet DEFAULT VALUES;
