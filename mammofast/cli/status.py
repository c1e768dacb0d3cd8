"""How commands end: exit statuses, in one place.

0 is success, skipped images included; 2, misuse, is click's own.
"""

# It could not run, or not to its end.
COULD_NOT_RUN = 1
# It ran, and all is done but what failed.
SOME_FAILED = 3
