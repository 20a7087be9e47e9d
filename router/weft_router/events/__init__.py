"""Events, read from the stream that keeps them."""
