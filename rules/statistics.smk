"""On request: power planning, and the mixed models fitted by R as well. Neither is part of `all`."""


rule plan_power:
    input:
        cohort=(rules.group.output if config["power"]["components"] == "cohort" else []),
        script=script("plan_power"),
    output:
        expand(
            f"{OUTPUT}/power/power.{{kind}}", kind=["tsv", "json", "png", "svg", "pdf"]
        ),
    log:
        f"{OUTPUT}/logs/plan_power.log",
    benchmark:
        f"{OUTPUT}/benchmarks/plan_power.tsv"
    conda:
        "../envs/mrsflow.yaml"
    params:
        code=code("plan_power"),
        config=settings("group", "power"),
    message:
        "Power of trials to be planned"
    shell:
        "python {input.script:q} --config {params.config:q} --log {log:q}"


rule compare_with_r:
    input:
        group=rules.group.output,
        r=f"{SCRIPTS}/mixed_models.R",
        script=script("compare_with_r"),
    output:
        f"{OUTPUT}/group_r/differences.tsv",
    log:
        f"{OUTPUT}/logs/compare_with_r.log",
    benchmark:
        f"{OUTPUT}/benchmarks/compare_with_r.tsv"
    conda:
        "../envs/mrsflow.yaml"
    params:
        code=code("compare_with_r"),
        config=settings(
            "study", "protocols", "blocks", "preprocess", "fit", "quality", "group"
        ),
    message:
        "The mixed models of the study, fitted by R (lmerTest, pbkrtest) beside ours"
    shell:
        "python {input.script:q} --config {params.config:q} --out {output:q} --log {log:q}"
