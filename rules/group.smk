"""Tables, models and tests of the whole study."""

from mrsflow.study import layout


rule group:
    input:
        fits=tables_of("fit"),
        variants=tables_of_variants,
        described=rules.describe_dataset.output,  # refuses a scan under two names
    output:
        [f"{OUTPUT}/group/{name}" for name in layout.group_files(config)],
    log:
        f"{OUTPUT}/logs/group.log",
    benchmark:
        f"{OUTPUT}/benchmarks/group.tsv"
    conda:
        "../envs/mrsflow.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
    params:
        script=script("group"),
        code=code("group"),
        tables=rows_of_study(),
        ratings=lambda wildcards: contents_of(
            *filter(None, [config["quality"]["ratings"]])
        ),
        config=settings(
            "study", "protocols", "blocks", "preprocess", "fit", "quality", "group"
        ),
    message:
        "Group tables and statistics"
    shell:
        "python {params.script:q} --config {params.config:q} --log {log:q}"
