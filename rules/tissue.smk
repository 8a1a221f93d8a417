"""Tissue and other maps in the voxels, where the study names any."""

if TISSUE or MAPS:

    rule measure_tissue:
        input:
            converted=table_of("convert"),
        output:
            table=table_of("measure_tissue"),
        log:
            f"{OUTPUT}/logs/measure_tissue/{{batch}}.log",
        benchmark:
            f"{OUTPUT}/benchmarks/measure_tissue/{{batch}}.tsv"
        conda:
            (
                "../envs/tissue.yaml"
                if config["inputs"]["segment"] in ("mrsflow", "atropos")
                else "../envs/mrsflow.yaml"
            )
        resources:
            mem_mb=lambda wildcards, attempt: (2000 if SEGMENTS else 1000) * attempt,
            last_try=last_try,
        params:
            script=script("measure_tissue"),
            code=code("measure_tissue"),
            config=settings("study", "protocols", "blocks"),
            sessions=sessions_of,
            maps=state_of_maps,
        message:
            "Measuring the tissue of {wildcards.batch}"
        shell:
            "MRSFLOW_LAST_TRY={resources.last_try:q} python {params.script:q} --config {params.config:q} --sessions {params.sessions:q}"
            " --status {output.table:q} --log {log:q}"
