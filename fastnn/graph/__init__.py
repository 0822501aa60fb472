"""From symbols to a Program: trace, differentiate, fuse, plan."""
