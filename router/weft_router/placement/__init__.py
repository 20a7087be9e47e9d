"""Where a model goes; pure."""
