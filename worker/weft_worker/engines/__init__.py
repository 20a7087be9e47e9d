"""Engines: what turns a conversation into tokens, one file each behind one small protocol."""
