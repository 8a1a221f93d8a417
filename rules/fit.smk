"""Linear-combination fit of every block."""


def basis_of_batch(wildcards):
    """Basis sets of the protocols of a job's metabolite scans."""
    used = {
        row["protocol"]
        for key in sessions_of(wildcards)
        for row in rows_of_sessions()[key]
        if row["role"] == "svs"
    }
    return sorted(f"{OUTPUT}/basis/{protocol}.BASIS" for protocol in used)


rule fit:
    input:
        preprocessed=table_of("preprocess"),
        basis=basis_of_batch,
        code=lib("fit"),
    output:
        table=table_of("fit"),
    log:
        f"{OUTPUT}/logs/fit/{{batch}}.log",
    benchmark:
        f"{OUTPUT}/benchmarks/fit/{{batch}}.tsv"
    conda:
        "../envs/mrsflow.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
    params:
        config=settings("study", "protocols", "blocks", "fit"),
        sessions=sessions_of,
    message:
        "Fitting {wildcards.batch}"
    shell:
        "{PYTHON} {SCRIPTS:q}/fit.py --config {params.config:q} --sessions {params.sessions:q}"
        " --status {output.table:q} --log {log:q}"
