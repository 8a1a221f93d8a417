# Fits the models of a JSON file, which gives their formulas, with lmerTest and pbkrtest.
# Called as: Rscript mixed_models.R models.json results.json; needs lme4, lmerTest, pbkrtest and jsonlite.
suppressPackageStartupMessages({library(lmerTest); library(jsonlite)})
arguments <- commandArgs(trailingOnly = TRUE)
models <- fromJSON(arguments[1], simplifyVector = FALSE)
results <- lapply(models, function(model) {
  text <- setNames(rep("character", length(model$text)), unlist(model$text))
  table <- read.delim(model$table, na.strings = "n/a", check.names = FALSE, colClasses = text)
  for (column in names(model$levels)) {
    table[[column]] <- factor(as.character(table[[column]]), levels = unlist(model$levels[[column]]))
  }
  control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10, maxfun = 1e5), calc.derivs = FALSE)
  fit <- suppressMessages(lmer(as.formula(model$formula), data = table, REML = TRUE, control = control))
  satterthwaite <- coef(summary(fit, ddf = "Satterthwaite"))
  kr <- coef(summary(fit, ddf = "Kenward-Roger"))
  variances <- as.data.frame(VarCorr(fit))
  fixed <- lapply(seq_len(nrow(kr)), function(i) list(
    estimate = satterthwaite[i, 1], se = satterthwaite[i, 2], df_satterthwaite = satterthwaite[i, 3],
    p_satterthwaite = satterthwaite[i, 5], se_kr = kr[i, 2], df_kr = kr[i, 3], p_kr = kr[i, 5]))
  names(fixed) <- rownames(kr)
  list(loglik = as.numeric(logLik(fit)), singular = isSingular(fit),
       variances = as.list(setNames(variances$vcov, variances$grp)), fixed = fixed)
})
write(toJSON(results, auto_unbox = TRUE, digits = 15), arguments[2])
