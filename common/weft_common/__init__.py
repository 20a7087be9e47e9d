"""What two or more of gateway, router and worker use, free of any one's vocabulary; also the `weft` command."""

import os

# grpc reads these once, when it is imported; this file runs before any of ours imports it. Its fork handlers stop its
# threads around each process that we start (which all exec at once), and its C core writes lines into our JSON log.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # noqa: TID251 (grpc has no other door)
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # noqa: TID251 (grpc has no other door)
