"""What one can try without slides of one's own."""
