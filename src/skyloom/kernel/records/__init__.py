"""What is stored: frozen records, each with one meaning, read and written by every part."""
