"""Anthropic's Messages API: its bodies turned into the values of engines, and back."""
