"""Who is preferred among those that come into question: one idea a file; the order is the seed's."""
