#!/bin/sh
# PBS: submit a job script and print its id. Arguments: rule, threads, memory (MB), run time (min), job script.
exec qsub -V -N "mrsflow_$1" -l "select=1:ncpus=$2:mem=$3mb" -l "walltime=$(($4 / 60)):$(($4 % 60)):00" \
    -o /dev/null -e /dev/null "$5"
