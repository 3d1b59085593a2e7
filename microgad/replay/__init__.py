"""Replay: programs regrouped into array instructions, and run at the speed of hand-written matrix code."""
