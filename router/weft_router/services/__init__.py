"""The router's rpcs, a service a file: decode, authorize, one call, encode."""
