"""Route 53: moto's, made strict about changes, which are PENDING for a while before they are INSYNC.

`rules` says which batch of changes a zone takes; `models` keeps changes, and `answers` tells of them.
"""
