"""Who comes into question: one idea a file, in the order of `FILTERS`."""
