"""Arrays of numbers from a user's files, read without running what such files may hold."""
