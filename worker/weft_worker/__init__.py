"""The muscle: agent, backend processes, engines and dialects."""
