"""Who is next, and how long it takes: pure, so that it can be tried with any history of arrivals."""
