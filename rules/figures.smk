"""Figures of the whole study."""


rule figures:
    input:
        f"{OUTPUT}/group/headline.json",
        code=lib("figures"),
    output:
        f"{OUTPUT}/figures/time_course.png",
    log:
        f"{OUTPUT}/logs/figures.log",
    benchmark:
        f"{OUTPUT}/benchmarks/figures.tsv"
    conda:
        "../envs/mrsflow.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 1500 * attempt,
    params:
        config=settings(
            "study", "protocols", "blocks", "fit", "quality", "group", "report"
        ),
    message:
        "Drawing the group figures"
    shell:
        "{PYTHON} {SCRIPTS:q}/figures.py --config {params.config:q} --log {log:q}"
