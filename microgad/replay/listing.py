"""`trace`, and programs as text."""
