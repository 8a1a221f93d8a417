"""Coils and transients to clean blocks, placed in time relative to the dose."""


rule preprocess:
    input:
        converted=table_of("convert"),
        scans=[] if KEEP_SCANS else LEFT,
    output:
        table=table_of("preprocess"),
    log:
        f"{OUTPUT}/logs/preprocess/{{batch}}.log",
    benchmark:
        f"{OUTPUT}/benchmarks/preprocess/{{batch}}.tsv"
    conda:
        "../envs/mrsflow.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 1500 * attempt,
        last_try=last_try,
    params:
        script=script("preprocess"),
        code=code("preprocess"),
        config=settings("study", "protocols", "blocks", "preprocess"),
        sessions=sessions_of,
        scans=scans_option,
        variant=[],
    message:
        "Preprocessing {wildcards.batch}"
    shell:
        "MRSFLOW_LAST_TRY={resources.last_try:q} python {params.script:q} --config {params.config:q} --sessions {params.sessions:q}"
        " --status {output.table:q} {params.scans:q} {params.variant:q} --log {log:q}"
