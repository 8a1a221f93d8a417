# Reference results of pooled trials, from R's metafor: Rscript gold.R (in this folder) writes gold.json.
# Packages: metafor (and its data set of 13 trials of BCG vaccine), jsonlite.
suppressPackageStartupMessages({library(metafor); library(jsonlite)})
exact <- list(threshold = 1e-11, maxiter = 100000, stepadj = 0.5)
bcg <- escalc(measure = "RR", ai = tpos, bi = tneg, ci = cpos, di = cneg, data = dat.bcg)
set.seed(22)
made <- function(k, tau) {
  v <- runif(k, 0.5, 2)^2
  list(y = rnorm(k, 1, sqrt(v + tau^2)), v = v, x = seq_len(k) %% 3, g = rep(c("a", "b"), length.out = k))
}
sets <- list(bcg = list(y = as.numeric(bcg$yi), v = as.numeric(bcg$vi), x = dat.bcg$ablat,
                        g = ifelse(dat.bcg$alloc == "random", "b", "a")),
             three = made(3, 1), "three alike" = list(y = c(1, 1.1, 0.95), v = c(0.4, 0.3, 0.5), x = 0:2, g = c("a", "b", "a")),
             five = made(5, 2), "five alike" = made(5, 0), twelve = made(12, 1.5))
tested <- function(m, i) list(estimate = as.numeric(m$b[i]), se = m$se[i], t = m$zval[i], p = m$pval[i],
                              ci_low = m$ci.lb[i], ci_high = m$ci.ub[i])
of <- function(s) {
  m <- rma(y, v, data = s, test = "knha", control = exact)
  g <- rma(y, v, data = s, test = "adhoc", control = exact)
  around <- confint(m, control = list(tol = 1e-13, maxiter = 100000))$random["tau^2", ]
  guess <- predict(m)
  out <- list(y = s$y, v = s$v, x = s$x, g = s$g, plain = tested(m, 1), guarded = tested(g, 1), factor = m$s2w,
              tau2 = m$tau2, tau2_low = around[["ci.lb"]], tau2_high = around[["ci.ub"]], i2 = m$I2, q = m$QE, q_p = m$QEp,
              weights = as.numeric(weights(m)) / 100, prediction_low = guess$pi.lb, prediction_high = guess$pi.ub,
              left_out = lapply(seq_along(s$y), function(i)
                tested(rma(s$y[-i], s$v[-i], test = "knha", control = exact), 1)))
  if (length(s$y) >= 5) {
    n <- rma(y, v, mods = ~ x, data = s, test = "knha", control = exact)
    f <- rma(y, v, mods = ~ g, data = s, test = "knha", control = exact)
    r <- regtest(m, model = "rma", predictor = "sei")
    out$slope <- c(tested(n, 2), tau2 = n$tau2)
    out$group <- c(tested(f, 2), qm = f$QM, qm_p = f$QMp)
    out$small <- list(t = as.numeric(r$zval), p = as.numeric(r$pval))
  }
  out
}
# what papers report, to standardised differences: two groups, and a person's own change in units of the first SD
two <- escalc(measure = "SMD", m1i = c(12, 5.1), sd1i = c(3, 2), n1i = c(20, 9), m2i = c(10, 6), sd2i = c(2.5, 2.2),
              n2i = c(22, 11), vtype = "LS")
own <- escalc(measure = "SMCR", m1i = 12, m2i = 10, sd1i = 3, ni = 18, ri = 0.6)
raw <- escalc(measure = "MD", m1i = 12, sd1i = 3, n1i = 20, m2i = 10, sd2i = 2.5, n2i = 22)
within <- escalc(measure = "MC", m1i = 12, sd1i = 3, m2i = 10, sd2i = 2.5, ni = 18, ri = 0.6)
pairs <- function(e) lapply(seq_len(nrow(e)), function(i) list(estimate = as.numeric(e$yi[i]), variance = as.numeric(e$vi[i])))
write_json(list(sets = lapply(sets, of), conversions = list(SMD = pairs(two), SMCR = pairs(own), MD = pairs(raw), MC = pairs(within))),
           "gold.json", digits = I(16), auto_unbox = TRUE, pretty = FALSE)
