"""The exported program: running, verifying, checking, reporting and saving it."""
