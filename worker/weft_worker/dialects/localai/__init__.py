"""What LocalAI has beside the APIs that it shares with others."""
