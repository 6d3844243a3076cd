"""Cancellation, timeouts and failures at every moment at which they can come."""
