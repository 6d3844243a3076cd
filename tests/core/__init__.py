"""The core alone: `now` is passed in, no thread, no I/O; the tests play the face."""
