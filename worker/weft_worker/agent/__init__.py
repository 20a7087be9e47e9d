"""The agent: one for each machine; registers it, starts and watches backend processes, reports their load."""
