"""What is known of nodes, replicas and models, and how they live; pure."""
