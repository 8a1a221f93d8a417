"""On request: power planning, pooling with other trials, the mixed models fitted by R as well. None is part of `all`."""


rule plan_power:
    input:
        cohort=(rules.group.output if config["power"]["components"] == "cohort" else []),
    output:
        expand(
            f"{OUTPUT}/power/power.{{kind}}", kind=["tsv", "json", "png", "svg", "pdf"]
        ),
        f"{OUTPUT}/power/sample_size.tsv",
        f"{OUTPUT}/power/sample_size.json",
    log:
        f"{OUTPUT}/logs/plan_power.log",
    benchmark:
        f"{OUTPUT}/benchmarks/plan_power.tsv"
    conda:
        "../envs/mrsflow.yaml"
    params:
        script=script("plan_power"),
        code=code("plan_power"),
        config=settings("study", "group", "power"),
    message:
        "Power of trials to be planned"
    shell:
        "python {params.script:q} --config {params.config:q} --log {log:q}"


rule compare_with_r:
    input:
        group=rules.group.output,
    output:
        f"{OUTPUT}/group_r/differences.tsv",
    log:
        f"{OUTPUT}/logs/compare_with_r.log",
    benchmark:
        f"{OUTPUT}/benchmarks/compare_with_r.tsv"
    conda:
        "../envs/mrsflow.yaml"
    params:
        script=script("compare_with_r"),
        code=code("compare_with_r"),
        r=contents_of(f"{SCRIPTS}/compare_with_r.R"),
        config=settings(
            "study", "protocols", "blocks", "preprocess", "fit", "quality", "group"
        ),
    message:
        "What the group page shows, fitted by R (lmerTest, pbkrtest) beside ours"
    shell:
        "python {params.script:q} --config {params.config:q} --out {output:q} --log {log:q}"


rule pool_studies:
    input:
        group=rules.group.output,
    output:
        expand(
            f"{OUTPUT}/pooled/{{name}}.{{kind}}",
            name=["pooled", "pooled_trials"],
            kind=["tsv", "json"],
        ),
        expand(
            f"{OUTPUT}/pooled/{{name}}.{{kind}}",
            name=["forest", "funnel"],
            kind=["png", "svg", "pdf"],
        ),
        page=f"{OUTPUT}/pooled/index.html",
    log:
        f"{OUTPUT}/logs/pool_studies.log",
    benchmark:
        f"{OUTPUT}/benchmarks/pool_studies.tsv"
    conda:
        "../envs/mrsflow.yaml"
    params:
        script=script("pool_studies"),
        code=code("pool_studies"),
        given=lambda wildcards: contents_of(
            *(
                f"{source}/group/contrasts.tsv" if Path(source).is_dir() else source
                for source in config["pool"]["sources"]
            )
        ),
        sources=[OUTPUT, *config["pool"]["sources"]],
        out=lambda wildcards, output: Path(output.page).parent.as_posix(),
        measure=config["pool"]["measure"],
        level=str(config["group"]["level"]),
        asked=[
            text
            for key in ("contrast", "outcome", "moderators", "covariates")
            if config["pool"][key]
            for value in [config["pool"][key]]
            for text in [
                f"--{key}",
                *([value] if isinstance(value, str) else value),
            ]
        ]
        + ["--one-stage"] * config["pool"]["one_stage"],
    message:
        "This study pooled with other trials"
    shell:
        "python {params.script:q} --sources {params.sources:q} --out {params.out:q}"
        " --measure {params.measure:q} --level {params.level:q} {params.asked:q} --log {log:q}"
