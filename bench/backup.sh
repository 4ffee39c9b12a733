#!/bin/sh
# weir backup against cp -r, and what clients notice of it: see backup.py.
exec python3 "$(dirname "$0")/backup.py"
