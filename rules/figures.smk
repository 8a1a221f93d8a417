"""Figures of the whole study."""

from mrsflow.study import layout


rule figures:
    input:
        rules.group.output,
        captions=[f"{workflow.basedir}/report/{name}.rst" for name in layout.FIGURES],
        script=script("figures"),
    output:
        [
            f"{OUTPUT}/figures/{name}"
            for name in layout.figure_files()
            if not name.endswith(".svg")
        ],
        [
            report(
                f"{OUTPUT}/figures/{name}.svg",
                caption=f"../report/{name}.rst",
                category="Figures",
                labels={"figure": title},
            )
            for name, title in layout.FIGURES.items()
        ],
    log:
        f"{OUTPUT}/logs/figures.log",
    benchmark:
        f"{OUTPUT}/benchmarks/figures.tsv"
    conda:
        "../envs/mrsflow.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 1500 * attempt,
    params:
        code=code("figures"),
        config=settings(
            "study", "protocols", "blocks", "fit", "quality", "group", "report"
        ),
    message:
        "Drawing the group figures"
    shell:
        "python {input.script:q} --config {params.config:q} --log {log:q}"
