"""Files by themselves: of a session, gone, damaged or asked for; of a step over the study, declared by no other rule."""


rule session_file:
    input:
        table=table_of_output,
        previous=lambda wildcards: PREVIOUS.get(f"{OUTPUT}/{wildcards.path}") or [],
        scans=scans_of_output,
    output:
        update(f"{OUTPUT}/{{path}}"),
    log:
        f"{OUTPUT}/logs/session_file/{{path}}.log",
    wildcard_constraints:
        path=r"(bids/sub-[^/]+/ses-|derivatives/mrsflow/sub-|report/sub-)[^/]+(/.+)?|status/[a-z_]+/sub-[^/]+\.json",
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
        script=lambda wildcards: script(stage_of(wildcards.path)[0]),
        key=lambda wildcards: stage_of(wildcards.path)[1],
        scans=lambda wildcards, input: [x for s in input.scans for x in ("--scans", s)],
        page=lambda wildcards: options_of_page(wildcards.path),
        table=lambda wildcards: "{}/status/{}/restored/{}.tsv".format(
            OUTPUT, *stage_of(wildcards.path)
        ),
    message:
        "Making {wildcards.path}"
    shell:
        "python {params.script:q} --config {params.config:q} --sessions {params.key:q}"
        " --status {params.table:q} {params.scans:q} {params.page:q} --log {log:q}"


if UNDECLARED:

    rule step_file:
        output:
            "{path}",
        wildcard_constraints:
            path="|".join(map(re.escape, UNDECLARED)),
        shell:
            "false"
