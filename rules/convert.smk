"""Scanner files to a BIDS dataset of NIfTI-MRS files, checked at the door, identity removed."""

HEADERS = [f"{OUTPUT}/status/headers.txt"] if len(STUDY.keys) > LARGE else []

if HEADERS:

    rule check_headers:
        output:
            HEADERS,
        log:
            f"{OUTPUT}/logs/check_headers.log",
        conda:
            "../envs/mrsflow.yaml"
        params:
            script=script("check_headers"),
            code=code("check_headers"),
            config=settings("study", "protocols", "convert", "blocks"),
            rows=lambda wildcards: digest_of_rows(STUDY.keys),
        message:
            "Looking at the raw files"
        shell:
            "python {params.script:q} --config {params.config:q} --out {output:q} --log {log:q}"


rule convert:
    input:
        headers=ancient(HEADERS),
    output:
        table=table_of("convert"),
        scans=[] if KEEP_SCANS else temp(directory(LEFT)),
    log:
        f"{OUTPUT}/logs/convert/{{batch}}.log",
    benchmark:
        f"{OUTPUT}/benchmarks/convert/{{batch}}.tsv"
    conda:
        "../envs/mrsflow.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        last_try=last_try,
    params:
        script=script("convert"),
        code=code("convert"),
        config=settings("study", "protocols", "convert"),
        sessions=sessions_of,
        rows=rows_digest,
        scans=scans_option,
    message:
        "Converting {wildcards.batch}"
    shell:
        "MRSFLOW_LAST_TRY={resources.last_try:q} python {params.script:q} --config {params.config:q} --sessions {params.sessions:q}"
        " --status {output.table:q} {params.scans:q} --log {log:q}"


rule describe_dataset:
    input:
        tables_of("convert"),
    output:
        f"{OUTPUT}/bids/dataset_description.json",
    log:
        f"{OUTPUT}/logs/describe_dataset.log",
    conda:
        "../envs/mrsflow.yaml"
    params:
        script=script("describe_dataset"),
        code=code("describe_dataset"),
        config=settings("study", "protocols", "convert", "fit", "group"),
        tables=rows_of_study(),
    message:
        "Describing the dataset"
    shell:
        "python {params.script:q} --config {params.config:q} --log {log:q}"
