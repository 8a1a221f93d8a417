"""Scanner files to a BIDS dataset of NIfTI-MRS files, checked at the door, identity removed."""


rule convert:
    input:
        code=lib("convert"),
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
        config=settings("study", "protocols", "convert"),
        sessions=sessions_of,
        rows=rows_digest,
    message:
        "Converting {wildcards.batch}"
    shell:
        "{PYTHON} {SCRIPTS:q}/convert.py --config {params.config:q} --sessions {params.sessions:q}"
        " --status {output.table:q} --log {log:q}"


rule describe_dataset:
    input:
        tables_of("convert"),
        code=lib("describe_dataset"),
        tables=(
            []
            if config["inputs"]["bids"]
            else [config["inputs"]["participants"], config["inputs"]["sessions"]]
        ),
    output:
        f"{OUTPUT}/bids/dataset_description.json",
    log:
        f"{OUTPUT}/logs/describe_dataset.log",
    conda:
        "../envs/mrsflow.yaml"
    params:
        config=settings("study", "protocols", "convert"),
        samples=digest_of(
            STUDY.samples.drop(columns="line").astype(str).values.tolist()
        ),
    message:
        "Describing the dataset"
    shell:
        "{PYTHON} {SCRIPTS:q}/describe_dataset.py --config {params.config:q} --log {log:q}"


rule restore:
    input:
        lambda wildcards: PREVIOUS.get(f"{OUTPUT}/{wildcards.path}", []),
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
        stage=lambda wildcards: stage_of(wildcards.path)[0],
        key=lambda wildcards: stage_of(wildcards.path)[1],
    message:
        "Making {wildcards.path} again"
    shell:
        "{PYTHON} {SCRIPTS:q}/{params.stage:q}.py --config {params.config:q} --sessions {params.key:q}"
        " --status {OUTPUT:q}/status/{params.stage:q}/restored/{params.key:q}.tsv --log {log:q}"
