"""Linear-combination fit of every block."""


rule fit:
    input:
        preprocessed=table_of("preprocess"),
        basis=basis_of_batch,
        macromolecules=mean_macromolecules_of_batch,
        tissue=tissue_of_batch,
    output:
        table=table_of("fit"),
    log:
        f"{OUTPUT}/logs/fit/{{batch}}.log",
    benchmark:
        f"{OUTPUT}/benchmarks/fit/{{batch}}.tsv"
    conda:
        "../envs/mrsflow.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        last_try=last_try,
    params:
        script=script("fit"),
        code=code("fit"),
        config=settings("study", "protocols", "blocks", "fit"),
        regressors=lambda wildcards: contents_of(*regressors.files_of(config["fit"])),
        rows=rows_of_regressors,
        sessions=sessions_of,
        variant=[],
    message:
        "Fitting {wildcards.batch}"
    shell:
        "MRSFLOW_LAST_TRY={resources.last_try:q} python {params.script:q} --config {params.config:q} --sessions {params.sessions:q}"
        " --status {output.table:q} {params.variant:q} --log {log:q}"
