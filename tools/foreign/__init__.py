"""Programs of other people's libraries, exported as they are."""
