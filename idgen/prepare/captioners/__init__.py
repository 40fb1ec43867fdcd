"""What says of a photo where its subject is, so that [V] need not learn it."""
