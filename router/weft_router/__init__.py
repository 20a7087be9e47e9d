"""The planner: fleet, placement and loads."""
