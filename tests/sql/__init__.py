"""The database handle, proven in both worlds and on every driver that it speaks through."""
