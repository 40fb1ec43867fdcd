"""What finds the subject in a photo: one class a file."""
