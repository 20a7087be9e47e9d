"""Hands out slots of replicas to those who wait for one."""
