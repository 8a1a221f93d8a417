#!/bin/sh
# PBS: print running, success or failed for a job id.
state=$(qstat -x -f "$1" 2>/dev/null)
case $state in
    *"job_state = F"*) case $state in *"Exit_status = 0"*) echo success ;; *) echo failed ;; esac ;;
    *) echo running ;;
esac
