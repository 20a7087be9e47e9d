"""Nodes as long as they live: they register, report, age, drain, leave, and are what admins say of them."""
