"""Loads of models: durable jobs with one owner among the routers, shared by everybody who waits."""
