"""PostgreSQL, NATS and Envoy from wheels, on one machine, as parts that a supervisor can run."""
