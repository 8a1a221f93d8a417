"""Coils and transients to clean blocks, placed in time relative to the dose."""


rule preprocess:
    input:
        converted=table_of("convert"),
        script=script("preprocess"),
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
    params:
        code=code("preprocess"),
        config=settings("study", "protocols", "blocks", "preprocess"),
        sessions=sessions_of,
    message:
        "Preprocessing {wildcards.batch}"
    shell:
        "python {input.script:q} --config {params.config:q} --sessions {params.sessions:q}"
        " --status {output.table:q} --log {log:q}"
