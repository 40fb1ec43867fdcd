"""What a person looks at before training: the contact sheet and what it warns of."""
