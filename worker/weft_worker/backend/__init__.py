"""The backend process: one replica of one model behind its own gRPC server."""
