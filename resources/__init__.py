"""What both code locations agree on: words, declarations, tables, the lake and the registry."""
