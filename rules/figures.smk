"""Figures of the whole study."""

from mrsflow.study import layout


rule figures:
    input:
        rules.group.output,
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
        script=script("figures"),
        code=code("figures"),
        captions=contents_of(*(f"{BASE}/report/{name}.rst" for name in layout.FIGURES)),
        config=settings(
            "study", "protocols", "blocks", "fit", "quality", "group", "report"
        ),
    message:
        "Drawing the group figures"
    shell:
        "python {params.script:q} --config {params.config:q} --log {log:q}"
