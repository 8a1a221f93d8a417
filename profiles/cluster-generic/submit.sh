#!/bin/sh
# SGE: submit a job script and print its id. Arguments: rule, threads, memory (MB), run time (min), job script.
# h_vmem counts address space, of all processes of a job together: 2 GB more than the memory that is used.
exec qsub -terse -cwd -V -N "mrsflow_$1" -pe smp "$2" -l h_vmem="$((($3 + 2000) / $2))M" -l h_rt="$(($4 * 60))" \
    -o /dev/null -e /dev/null "$5"
