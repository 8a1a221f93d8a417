"""Pages for people: one per session, one for the study; and the last look at everything."""


rule report_sessions:
    input:
        fits=table_of("fit"),
        script=script("report_sessions"),
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
    params:
        code=code("report_sessions"),
        config=settings(
            "study", "protocols", "blocks", "preprocess", "fit", "quality", "report"
        ),
        sessions=sessions_of,
    message:
        "Writing the page of {wildcards.batch}"
    shell:
        "python {input.script:q} --config {params.config:q} --sessions {params.sessions:q}"
        " --status {output.table:q} --log {log:q}"


rule report:
    input:
        tables_of("report_sessions"),
        rules.figures.output,
        rules.group.output,
        f"{OUTPUT}/bids/dataset_description.json",
        script=script("report"),
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
        code=code("report"),
        config=lambda wildcards: json.dumps(config),
    message:
        "Writing the group page"
    shell:
        "python {input.script:q} --config {params.config:q} --log {log:q}"


rule check_outputs:
    input:
        f"{OUTPUT}/report/index.html",
        script=script("check_outputs"),
    output:
        f"{OUTPUT}/status/complete.txt",
    log:
        f"{OUTPUT}/logs/check_outputs.log",
    retries: 0
    conda:
        "../envs/mrsflow.yaml"
    params:
        code=code("check_outputs"),
        config=settings("study", "protocols", "convert"),
    message:
        "Looking through every output"
    shell:
        "python {input.script:q} --config {params.config:q} --log {log:q}"


onerror:
    for line in advice(log):
        print(line, file=sys.stderr)
