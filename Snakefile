"""From raw scanner files of an fMRS drug trial to group figures and reports."""

from snakemake.utils import min_version

min_version("9.20")


report: "report/workflow.rst"


include: "rules/common.smk"
include: "rules/convert.smk"
include: "rules/preprocess.smk"
include: "rules/tissue.smk"
include: "rules/basis.smk"
include: "rules/fit.smk"
include: "rules/variants.smk"
include: "rules/group.smk"
include: "rules/statistics.smk"
include: "rules/figures.smk"
include: "rules/report.smk"
include: "rules/standing.smk"
include: "rules/session_file.smk"


localrules:
    all,


rule all:
    default_target: True
    input:
        f"{OUTPUT}/status/complete.txt",
        *[tables_of(stage) for stage in STAGES],
        rules.describe_dataset.output,
        rules.group.output,
        rules.figures.output,
        rules.report.output,
        expand(rules.simulate_basis.output, protocol=USED_PROTOCOLS),
        missing_outputs,
