"""Programs that show the library at work; run them from the repository's root."""
