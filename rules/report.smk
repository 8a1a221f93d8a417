"""Pages for people: one per session, one for the study; and the last look at everything."""


rule report_sessions:
    input:
        fits=table_of("fit"),
    output:
        table=table_of("report_sessions"),
    log:
        f"{OUTPUT}/logs/report_sessions/{{batch}}.log",
    benchmark:
        f"{OUTPUT}/benchmarks/report_sessions/{{batch}}.tsv"
    conda:
        "../envs/mrsflow.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        last_try=last_try,
    params:
        script=script("report_sessions"),
        code=code("report_sessions"),
        config=settings(
            "study", "protocols", "blocks", "preprocess", "fit", "quality", "report"
        ),
        sessions=sessions_of,
        page=lambda wildcards: options_of_pages(sessions_of(wildcards)),
    message:
        "Writing the page of {wildcards.batch}"
    shell:
        "MRSFLOW_LAST_TRY={resources.last_try:q} python {params.script:q} --config {params.config:q} --sessions {params.sessions:q}"
        " --status {output.table:q} {params.page:q} --log {log:q}"


rule report:
    input:
        tables_of("report_sessions"),
        rules.figures.output,
        rules.group.output,
        f"{OUTPUT}/bids/dataset_description.json",
    output:
        f"{OUTPUT}/report/index.html",
    log:
        f"{OUTPUT}/logs/report.log",
    benchmark:
        f"{OUTPUT}/benchmarks/report.tsv"
    conda:
        "../envs/mrsflow.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 1500 * attempt,
    params:
        script=script("report"),
        code=code("report"),
        config=lambda wildcards: json.dumps(config),
    message:
        "Writing the group page"
    shell:
        "python {params.script:q} --config {params.config:q} --log {log:q}"


rule check_outputs:
    input:
        f"{OUTPUT}/report/index.html",
    output:
        f"{OUTPUT}/status/complete.txt",
    log:
        f"{OUTPUT}/logs/check_outputs.log",
    retries: 0
    conda:
        "../envs/mrsflow.yaml"
    params:
        script=script("check_outputs"),
        code=code("check_outputs"),
        attention=ATTENTION,
        config=settings(
            "study", "protocols", "convert", "preprocess", "fit", "group", "report"
        ),
    message:
        "Looking through every output"
    shell:
        "python {params.script:q} --config {params.config:q} --log {log:q}"
        " > {params.attention:q}"
