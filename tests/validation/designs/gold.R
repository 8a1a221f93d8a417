# Reference results of the models of each design, from R: Rscript gold.R (in this folder) writes gold.json.
# Packages: lmerTest, pbkrtest, jsonlite. The formulas are written for these tables, not taken from the library.
suppressPackageStartupMessages({library(lmerTest); library(jsonlite)})
control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10, maxfun = 1e5), calc.derivs = FALSE)
table_of <- function(name) {
  t <- read.delim(paste0(name, ".tsv"), colClasses = c(participant = "character", session = "character"))
  base <- aggregate(value ~ participant + session, t[t$phase == "baseline", ], mean)
  names(base)[3] <- "bl"
  t <- merge(t[t$phase != "baseline", ], base)
  own <- aggregate(bl ~ participant, base, mean)
  t$own <- own$bl[match(t$participant, own$participant)]
  t$dev <- t$bl - t$own
  t$mid <- t$own - mean(own$bl)
  t$rise <- t$value - t$bl
  for (column in c("condition", "block", "visit", "site")) t[[column]] <- factor(t[[column]])
  t$scan <- paste(t$participant, t$session)
  t
}
cells <- function(test, df, t, p) list(estimate = test$Estimate, se = test[["Std. Error"]], df = df, t = t, p = p)
mixed <- function(formula, t, weights) {
  fit <- lmer(formula, t, control = control)
  found <- contest1D(fit, weights(names(fixef(fit))), ddf = "Kenward-Roger")
  cells(found, found$df, found[["t value"]], found[["Pr(>|t|)"]])
}
pick <- function(...) {
  wanted <- c(...)
  function(names) { w <- setNames(numeric(length(names)), names); w[names(wanted)] <- wanted; w }
}
welch <- function(formula, t) {
  found <- t.test(formula, t)  # first level less second
  list(estimate = diff(unname(found$estimate)), se = found$stderr, df = unname(found$parameter),
       t = -unname(found$statistic), p = found$p.value)
}
carried <- function(t) {  # the condition of the visit before, from the whole table
  given <- setNames(as.character(t$condition), paste(t$participant, t$visit))
  before <- given[paste(t$participant, as.integer(as.character(t$visit)) - 1)]
  t$after_b <- as.numeric(!is.na(before) & before == "b")
  t$after_c <- as.numeric(!is.na(before) & before == "c")
  t
}
over_visits <- function(arms) {  # the first visit is before treatment, the others after
  t <- read.delim("visits.tsv", colClasses = c(participant = "character", session = "character"))
  t <- t[t$condition %in% arms, ]
  first <- t[t$visit == 1, ]
  t <- t[t$visit > 1, ]
  t$bl <- first$value[match(t$participant, first$participant)]
  t$rise <- t$value - t$bl
  t$mid <- t$bl - mean(first$value)
  t$years <- t$age - mean(first$age)
  t$visit <- factor(t$visit)
  t
}
over_mean <- pick("(Intercept)" = 1, visit3 = 1 / 3, visit4 = 1 / 3)
difference_of_groups <- function(formula) {  # each group by itself, then Satterthwaite
  fits <- lapply(c("a", "b"), function(arm) mixed(formula, subset(over_visits(c("a", "b")), condition == arm), over_mean))
  v <- sapply(fits, function(f) f$se^2)
  estimate <- fits[[2]]$estimate - fits[[1]]$estimate
  df <- sum(v)^2 / sum(v^2 / sapply(fits, function(f) f$df))
  t <- estimate / sqrt(sum(v))
  list(estimate = estimate, se = sqrt(sum(v)), df = df, t = t, p = 2 * pt(-abs(t), df))
}
centred <- function(t) { t$years <- t$age - mean(t$age[!duplicated(t$participant)]); t }
difference_of_fits <- function(formula, p, name) {  # each group by itself, then Satterthwaite
  fits <- lapply(c("a", "b"), function(arm) {
    fit <- lm(formula, subset(p, condition == arm))
    c(coef(summary(fit))[name, 1:2], fit$df.residual)
  })
  v <- sapply(fits, function(f) f[2]^2)
  estimate <- fits[[2]][1] - fits[[1]][1]
  df <- sum(v)^2 / sum(v^2 / sapply(fits, function(f) f[3]))
  t <- unname(estimate) / sqrt(sum(v))
  list(estimate = unname(estimate), se = sqrt(sum(v)), df = df, t = t, p = 2 * pt(-abs(t), df))
}
two <- table_of("crossover"); three <- table_of("williams"); four <- table_of("factorial")
twice <- table_of("replicate")
one <- table_of("single"); part <- table_of("incomplete"); groups <- table_of("parallel")
random <- "+ (1|participant) + (1|scan)"
f <- function(text) as.formula(paste(text, random))
base <- two[!duplicated(two$scan), ]
person <- aggregate(cbind(value, rise) ~ participant + condition, groups, mean)
mean_of_arm <- pick("(Intercept)" = 1, blockinfusion2 = 1 / 3, blockinfusion3 = 1 / 3, visit2 = 1 / 3, visit3 = 1 / 3)
gold <- list(
  "crossover response" = mixed(f("rise ~ condition + block + visit"), two, pick(conditionb = 1)),
  "crossover adjusted_level" = mixed(f("value ~ condition + block + visit + dev + mid"), two, pick(conditionb = 1)),
  "crossover covariates" = mixed(f("rise ~ condition + block + visit + age + site"), two, pick(conditionb = 1)),
  "crossover total" = mixed(f("value ~ condition + block + visit"), two, pick(conditionb = 1)),
  "crossover baseline" = mixed(bl ~ condition + visit + (1|participant), base, pick(conditionb = 1)),
  "williams response" = mixed(f("rise ~ condition + block + visit"), three, pick(conditionb = 1, conditionc = -1)),
  "factorial interaction" = mixed(f("rise ~ condition + block + visit"), four,
                                  pick(conditionb = -1, conditionc = -1, conditiond = 1)),
  "factorial main" = mixed(f("rise ~ condition + block + visit"), four,
                           pick(conditionb = -1 / 2, conditionc = 1 / 2, conditiond = 1 / 2)),
  "factorial adjusted_level" = mixed(f("value ~ condition + block + visit + dev + mid"), four,
                                     pick(conditionb = -1, conditionc = -1, conditiond = 1)),
  "incomplete response" = mixed(f("rise ~ condition + block + visit"), part, pick(conditionb = 1)),
  "single response" = mixed(f("rise ~ block + visit"), one, mean_of_arm),
  "parallel response" = welch(rise ~ condition, person),
  "parallel total" = welch(value ~ condition, person),
  "williams carried" = mixed(f("rise ~ condition + block + visit + after_b + after_c"), carried(three),
                             pick(conditionb = 1, conditionc = -1)),
  "williams after" = mixed(f("rise ~ condition + block + visit + after_b + after_c"), carried(three), pick(after_b = 1)),
  "crossover carried" = mixed(f("rise ~ condition + block + visit + after_b"), carried(two), pick(conditionb = 1)),
  "replicate response" = mixed(f("rise ~ condition + block + visit + (1|participant:condition)"), twice,
                               pick(conditionb = 1)),
  "replicate adjusted_level" = mixed(f("value ~ condition + block + visit + dev + mid + (1|participant:condition)"), twice,
                                     pick(conditionb = 1)),
  "replicate carried" = mixed(f("rise ~ condition + block + visit + after_b + (1|participant:condition)"), carried(twice),
                              pick(conditionb = 1)),
  "crossover by site" = mixed(f("rise ~ condition * site + block + visit"), two, pick("conditionb:sites1" = 1)),
  "crossover by age" = mixed(f("rise ~ condition * years + block + visit"), centred(two), pick("conditionb:years" = 1)),
  "single by age" = mixed(f("rise ~ years + block + visit"), centred(one), pick(years = 1)),
  "parallel by age" = difference_of_fits(rise ~ age, aggregate(rise ~ participant + condition + age, groups, mean), "age"),
  "visits by site" = difference_of_fits(rise ~ site, subset(over_visits(c("a", "b")), visit == 2), "sites1"),
  "visits single" = mixed(rise ~ visit + (1|participant), over_visits("b"), over_mean),
  "visits response" = difference_of_groups(rise ~ visit + (1|participant)),
  "visits adjusted_level" = difference_of_groups(value ~ visit + mid + (1|participant)),
  "visits age" = difference_of_groups(value ~ visit + mid + years + (1|participant)),
  "visits equal variances" = mixed(value ~ condition * visit + mid + (1|participant), over_visits(c("a", "b")),
                                   pick(conditionb = 1, "conditionb:visit3" = 1 / 3, "conditionb:visit4" = 1 / 3))
)
write_json(gold, "gold.json", digits = 15, auto_unbox = TRUE, pretty = TRUE)
