"""What the multiverse needs beside the study's own results: each step once for all paths that share it."""

if VARIANTS:

    use rule preprocess as preprocess_variant with:
        output:
            table=f"{OUTPUT}/status/preprocess_{{prepared}}/batches/{{batch}}.tsv",
        log:
            f"{OUTPUT}/logs/preprocess_{{prepared}}/{{batch}}.log",
        benchmark:
            f"{OUTPUT}/benchmarks/preprocess_{{prepared}}/{{batch}}.tsv"
        params:
            script=script("preprocess"),
            code=code("preprocess"),
            config=lambda wildcards: settings_of(
                PREPROCESSED[wildcards.prepared],
                "study",
                "protocols",
                "blocks",
                "preprocess",
            ),
            sessions=sessions_of,
            scans=scans_option,
            variant=lambda wildcards: ["--variant", wildcards.prepared],
        message:
            "Preprocessing {wildcards.batch} as {wildcards.prepared}"

    use rule simulate_basis as simulate_basis_variant with:
        output:
            f"{OUTPUT}/basis/{{source}}/{{protocol}}.BASIS",
        log:
            f"{OUTPUT}/logs/simulate_basis/{{source}}_{{protocol}}.log",
        benchmark:
            f"{OUTPUT}/benchmarks/simulate_basis_variant/{{source}}_{{protocol}}.tsv"
        params:
            script=script("simulate_basis"),
            code=code("simulate_basis"),
            files=lambda wildcards: files_of_protocol(
                wildcards, with_source(wildcards.source)
            ),
            config=lambda wildcards: json.dumps(
                {
                    "output": OUTPUT,
                    "protocols": {
                        wildcards.protocol: with_source(wildcards.source)["protocols"][
                            wildcards.protocol
                        ]
                    },
                }
            ),
        message:
            "Making the basis set of protocol {wildcards.protocol} with {wildcards.source}"

    use rule fit as fit_variant with:
        input:
            preprocessed=prepared_of_variant,
            basis=lambda wildcards: basis_of_batch(
                wildcards, variants.basis_of(wildcards.variant)
            ),
            macromolecules=lambda wildcards: mean_macromolecules_of_batch(
                wildcards, VARIANTS[wildcards.variant]
            ),
            tissue=tissue_of_batch,
        output:
            table=f"{OUTPUT}/status/fit_{{variant}}/batches/{{batch}}.tsv",
        log:
            f"{OUTPUT}/logs/fit_{{variant}}/{{batch}}.log",
        benchmark:
            f"{OUTPUT}/benchmarks/fit_{{variant}}/{{batch}}.tsv"
        params:
            script=script("fit"),
            code=code("fit"),
            config=lambda wildcards: settings_of(
                VARIANTS[wildcards.variant], "study", "protocols", "blocks", "fit"
            ),
            regressors=lambda wildcards: contents_of(
                *regressors.files_of(config["fit"])
            ),
            rows=rows_of_regressors,
            sessions=sessions_of,
            variant=lambda wildcards: ["--variant", wildcards.variant],
        message:
            "Fitting {wildcards.batch} as {wildcards.variant}"
