"""What fills the subject's place: one class a file."""
