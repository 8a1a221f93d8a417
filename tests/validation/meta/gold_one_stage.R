# Reference results of participants of several trials in one model: Rscript gold_one_stage.R writes sessions.tsv, sites.tsv, one_stage.json.
# Packages: lmerTest, pbkrtest, nlme, jsonlite. The formulas are written for this table, not taken from the library.
suppressPackageStartupMessages({library(lmerTest); library(nlme); library(jsonlite)})
set.seed(5)
sizes <- c(A = 12, B = 16, C = 10, D = 14, E = 12)
shift <- c(A = 0.5, B = -1.2, C = 1.4, D = -0.6, E = 0.2)
spread <- c(A = 1, B = 2, C = 1.4, D = 1, E = 2.5)
rows <- do.call(rbind, lapply(names(sizes), function(s) {
  own <- rnorm(sizes[[s]], 0, 2); age <- round(runif(sizes[[s]], 20, 50))
  do.call(rbind, lapply(1:2, function(v) {
    treated <- as.numeric((seq_len(sizes[[s]]) + v) %% 2)
    data.frame(trial = s, participant = paste0(s, seq_len(sizes[[s]])), visit = v, treated = treated,
               cohort = ifelse(s %in% c("B", "D"), "MDD with AUD", "MDD"), age = age,
               value = 6 + own + treated * (-3 + shift[[s]] + 0.05 * (age - 35)) + 0.4 * (v - 1) + rnorm(sizes[[s]], 0, spread[[s]]))
  }))
}))
rows$value <- round(rows$value, 4)
write.table(rows, "sessions.tsv", sep = "\t", quote = FALSE, row.names = FALSE)
t <- read.delim("sessions.tsv")
t$arm <- factor(t$treated); t$later <- as.numeric(t$visit == 2); t$trial <- factor(t$trial)
t$middle <- ave(t$age, t$trial); t$inside <- t$age - t$middle; t$between <- t$middle - mean(t$middle)
exact <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-11, maxfun = 1e5), calc.derivs = FALSE)
kr <- function(m, name) {
  x <- setNames(numeric(length(fixef(m))), names(fixef(m))); x[name] <- c(1, -1)[seq_along(name)]
  f <- contest1D(m, x, ddf = "Kenward-Roger")
  list(estimate = f$Estimate, se = f[["Std. Error"]], df = f$df, t = f[["t value"]], p = f[["Pr(>|t|)"]])
}
random <- "+ (1 | trial) + (1 | trial:arm) + (1 | participant)"
one <- lmer(as.formula(paste("value ~ treated + later:trial", random)), t, control = exact)
two <- lmer(as.formula(paste("value ~ 0 + cohort + cohort:treated + later:trial", random)), t, control = exact)
three <- lmer(as.formula(paste("value ~ treated + inside + inside:treated + between + between:treated + later:trial", random)), t, control = exact)
variances <- function(m) { v <- as.data.frame(VarCorr(m)); setNames(as.list(v$vcov), v$grp) }
# a variance of the error in each trial; compound symmetry of a trial's two conditions is a trial's own level and its conditions'
free <- lme(value ~ treated + later:trial, t, random = list(trial = pdCompSymm(~ arm - 1), participant = ~ 1),
            weights = varIdent(form = ~ 1 | trial), method = "REML",
            control = lmeControl(tolerance = 1e-13, msTol = 1e-12, maxIter = 2000, msMaxIter = 5000, msMaxEval = 20000,
                                 niterEM = 500, opt = "nlminb"))
# as well a variance of the participants of each trial
own <- lme(value ~ treated + later:trial, t, random = list(trial = pdCompSymm(~ arm - 1), participant = pdDiag(~ trial - 1)),
           weights = varIdent(form = ~ 1 | trial), method = "REML",
           control = lmeControl(tolerance = 1e-13, msTol = 1e-13, maxIter = 2000, msMaxIter = 5000, msMaxEval = 50000,
                                niterEM = 500, opt = "nlminb", allow.n.lt.q = TRUE))
people <- as.numeric(VarCorr(own)[paste0("trial", names(sizes)), "Variance"])
# two groups at three sites whose levels and errors differ: a variance of the errors of each site
set.seed(9)
place <- rep(c("A", "B", "C"), c(24, 18, 30)); arm <- rep(c("a", "b", "b"), 24)
age <- round(rnorm(72, 40, 10)); spread <- c(A = 1, B = 3, C = 0.5)[place]; level <- c(A = 0, B = 5, C = -4)[place]
sites <- data.frame(site = place, condition = arm, age = age,
                    y = round(level + 2 * (arm == "b") + 0.05 * age + rnorm(72, 0, spread), 4))
write.table(sites, "sites.tsv", sep = "\t", quote = FALSE, row.names = FALSE)
sites <- read.delim("sites.tsv")
apart <- gls(y ~ condition + age + site, sites, weights = varIdent(form = ~ 1 | site), method = "REML",
             control = glsControl(tolerance = 1e-13, msTol = 1e-13, maxIter = 1000, msMaxIter = 1000))
ratio <- coef(apart$modelStruct$varStruct, unconstrained = FALSE, allCoef = TRUE)
write_json(list(
  own_people = list(estimate = fixef(own)[["treated"]], se = sqrt(vcov(own)["treated", "treated"]),
                    loglik = as.numeric(logLik(own)), participants = people),
  own_sites = list(estimate = coef(apart)[["conditionb"]], se = sqrt(vcov(apart)["conditionb", "conditionb"]),
                   loglik = as.numeric(logLik(apart)), scale = as.list(ratio / exp(mean(log(ratio))))),
  effect = kr(one, "treated"), variances = variances(one),
  MDD = kr(two, "cohortMDD:treated"), AUD = kr(two, "cohortMDD with AUD:treated"),
  difference = kr(two, c("cohortMDD with AUD:treated", "cohortMDD:treated")),
  within = kr(three, "treated:inside"), between = kr(three, "treated:between"),
  own_errors = list(estimate = fixef(free)[["treated"]], se = sqrt(vcov(free)["treated", "treated"]), loglik = as.numeric(logLik(free)))
), "one_stage.json", digits = I(15), auto_unbox = TRUE)
