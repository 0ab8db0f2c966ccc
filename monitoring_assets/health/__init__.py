"""The monitor is monitored: what is broken in the platform itself, since when, and what to do about it."""
