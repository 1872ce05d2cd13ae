"""What a graph is made of: edges in rows, what they weigh, and how they change."""
