#!/bin/sh
# SGE: print running, success or failed for a job id.
if qstat -j "$1" >/dev/null 2>&1; then
    echo running
elif qacct -j "$1" 2>/dev/null | grep -Eq '^exit_status +0 *$'; then
    echo success
elif qacct -j "$1" >/dev/null 2>&1; then
    echo failed
else
    echo running   # ended, but not yet in the accounting file
fi
