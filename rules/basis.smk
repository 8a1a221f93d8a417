"""A basis set for each protocol: simulated, or the file that the configuration names."""


rule simulate_basis:
    output:
        f"{OUTPUT}/basis/{{protocol}}.BASIS",
    log:
        f"{OUTPUT}/logs/simulate_basis/{{protocol}}.log",
    benchmark:
        f"{OUTPUT}/benchmarks/simulate_basis/{{protocol}}.tsv"
    conda:
        "../envs/mrsflow.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
    params:
        script=script("simulate_basis"),
        code=code("simulate_basis"),
        files=files_of_protocol,
        config=lambda wildcards: json.dumps(
            {
                "output": OUTPUT,
                "protocols": {
                    wildcards.protocol: config["protocols"][wildcards.protocol]
                },
            }
        ),
    message:
        "Making the basis set of protocol {wildcards.protocol}"
    shell:
        "python {params.script:q} --config {params.config:q} --protocol {wildcards.protocol:q}"
        " --out {output:q} --log {log:q}"


rule average_macromolecules:
    input:
        tables_of("preprocess"),
    output:
        f"{OUTPUT}/basis/{{protocol}}_macromolecules.nii.gz",
    log:
        f"{OUTPUT}/logs/average_macromolecules/{{protocol}}.log",
    benchmark:
        f"{OUTPUT}/benchmarks/average_macromolecules/{{protocol}}.tsv"
    conda:
        "../envs/mrsflow.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
    params:
        script=script("average_macromolecules"),
        code=lambda wildcards: code("average_macromolecules"),
        config=settings("study", "protocols"),
    message:
        "Averaging the macromolecules that scans of role mm show, for protocol {wildcards.protocol}"
    shell:
        "python {params.script:q} --config {params.config:q} --protocol {wildcards.protocol:q}"
        " --out {output:q} --log {log:q}"
