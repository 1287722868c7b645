"""What the commands print and ask. Nothing else prints."""
