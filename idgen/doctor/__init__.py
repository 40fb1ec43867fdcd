"""`idgen doctor`: looks at a set-up before it runs, and says what would fail and what mends it."""
