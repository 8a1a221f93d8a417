"""Scanner files to a BIDS dataset of NIfTI-MRS files, checked at the door, identity removed."""

HEADERS = [f"{OUTPUT}/status/headers.txt"] if len(STUDY.keys) > LARGE else []

if HEADERS:

    rule check_headers:
        input:
            script=script("check_headers"),
        output:
            HEADERS,
        log:
            f"{OUTPUT}/logs/check_headers.log",
        conda:
            "../envs/mrsflow.yaml"
        params:
            code=code("check_headers"),
            config=settings("study", "protocols", "convert", "blocks"),
            rows=lambda wildcards: digest_of_rows(STUDY.keys),
        message:
            "Looking at the raw files"
        shell:
            "python {input.script:q} --config {params.config:q} --out {output:q} --log {log:q}"


rule convert:
    input:
        headers=ancient(HEADERS),
        script=script("convert"),
    output:
        table=table_of("convert"),
    log:
        f"{OUTPUT}/logs/convert/{{batch}}.log",
    benchmark:
        f"{OUTPUT}/benchmarks/convert/{{batch}}.tsv"
    conda:
        "../envs/mrsflow.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
    params:
        code=code("convert"),
        config=settings("study", "protocols", "convert"),
        sessions=sessions_of,
        rows=rows_digest,
    message:
        "Converting {wildcards.batch}"
    shell:
        "python {input.script:q} --config {params.config:q} --sessions {params.sessions:q}"
        " --status {output.table:q} --log {log:q}"


rule describe_dataset:
    input:
        tables_of("convert"),
        script=script("describe_dataset"),
        tables=table_paths(config),
    output:
        f"{OUTPUT}/bids/dataset_description.json",
    log:
        f"{OUTPUT}/logs/describe_dataset.log",
    conda:
        "../envs/mrsflow.yaml"
    params:
        code=code("describe_dataset"),
        config=settings("study", "protocols", "convert", "group"),
        samples=digest_of(
            STUDY.samples.drop(columns="line").astype(str).values.tolist()
        ),
    message:
        "Describing the dataset"
    shell:
        "python {input.script:q} --config {params.config:q} --log {log:q}"


rule restore:
    input:
        previous=lambda wildcards: PREVIOUS.get(f"{OUTPUT}/{wildcards.path}", []),
        script=lambda wildcards: script(stage_of(wildcards.path)[0]),
    output:
        f"{OUTPUT}/{{path}}",
    log:
        f"{OUTPUT}/logs/restore/{{path}}.log",
    wildcard_constraints:
        path=r"(bids/sub-|derivatives/mrsflow/sub-|report/sub-)[^/]+(/.+)?|status/[a-z_]+/sub-[^/]+\.json",
    conda:
        "../envs/mrsflow.yaml"
    params:
        config=settings(
            "study",
            "protocols",
            "convert",
            "blocks",
            "preprocess",
            "fit",
            "quality",
            "report",
        ),
        key=lambda wildcards: stage_of(wildcards.path)[1],
        table=lambda wildcards: "{}/status/{}/restored/{}.tsv".format(
            OUTPUT, *stage_of(wildcards.path)
        ),
    message:
        "Making {wildcards.path} again"
    shell:
        "python {input.script:q} --config {params.config:q} --sessions {params.key:q}"
        " --status {params.table:q} --log {log:q}"
