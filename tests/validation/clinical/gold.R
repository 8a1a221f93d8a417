# Reference results of repeated clinical scores, from R: Rscript gold.R (in this folder) writes gold.json.
# Packages: nlme, lmerTest, pbkrtest, jsonlite. The formulas are written for these tables, not taken from the library.
suppressPackageStartupMessages({library(nlme); library(lmerTest); library(jsonlite)})
long <- function(name) {
  t <- read.delim(paste0(name, ".tsv"), colClasses = c(participant = "character", session = "character"))
  own <- aggregate(q_pre ~ participant, t, mean)
  t$own <- own$q_pre[match(t$participant, own$participant)]
  t$dev <- t$q_pre - t$own
  t$mid <- t$own - mean(own$q_pre)
  t <- do.call(rbind, lapply(c("d1", "d7", "d14"), function(d) transform(t, time = d, value = t[[paste0("q_", d)]] - q_pre)))
  t <- t[!is.na(t$value), ]
  t$time <- factor(t$time, levels = c("d1", "d7", "d14"))
  t$condition <- factor(t$condition); t$visit <- factor(t$visit); t$own_visit <- paste(t$participant, t$session)
  t
}
groups <- long("parallel"); two <- long("crossover")
free <- gls(value ~ 0 + time + time:condition + time:mid, groups,
            correlation = corSymm(form = ~ as.integer(time) | participant), weights = varIdent(form = ~ 1 | time),
            control = glsControl(tolerance = 1e-12, msTol = 1e-14, maxIter = 500, msMaxIter = 500, opt = "optim"))
at <- function(fit, names, w) {
  x <- setNames(numeric(length(coef(fit))), names(coef(fit))); x[names] <- w
  list(estimate = sum(x * coef(fit)), se_model = sqrt(drop(x %*% fit$varBeta %*% x)))
}
arm <- paste0("time", c("d1", "d7", "d14"), ":conditionb")
mixed <- lmer(value ~ condition * time + visit * time + dev * time + mid * time + (1 | participant) + (1 | own_visit), two,
              control = lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-11, maxfun = 1e5), calc.derivs = FALSE))
kr <- function(w) {
  x <- setNames(numeric(length(fixef(mixed))), names(fixef(mixed))); x[names(w)] <- w
  f <- contest1D(mixed, x, ddf = "Kenward-Roger")
  list(estimate = f$Estimate, se = f[["Std. Error"]], df = f$df, t = f[["t value"]], p = f[["Pr(>|t|)"]])
}
gold <- list(
  "parallel unstructured d14" = at(free, arm[3], 1),
  "parallel unstructured mean" = at(free, arm, 1 / 3),
  "crossover compound d7" = kr(c(conditionb = 1, "conditionb:timed7" = 1)),
  "crossover compound mean" = kr(c(conditionb = 1, "conditionb:timed7" = 1 / 3, "conditionb:timed14" = 1 / 3))
)
write_json(gold, "gold.json", digits = 15, auto_unbox = TRUE, pretty = TRUE)
