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
  t$visit <- paste(t$participant, t$session)
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
two <- table_of("crossover"); three <- table_of("williams"); four <- table_of("factorial")
one <- table_of("single"); part <- table_of("incomplete"); groups <- table_of("parallel")
random <- "+ (1|participant) + (1|visit)"
f <- function(text) as.formula(paste(text, random))
base <- two[!duplicated(two$visit), ]
person <- aggregate(cbind(value, rise) ~ participant + condition, groups, mean)
mean_of_arm <- pick("(Intercept)" = 1, blockinfusion2 = 1 / 3, blockinfusion3 = 1 / 3, period2 = 1 / 3, period3 = 1 / 3)
gold <- list(
  "crossover response" = mixed(f("rise ~ condition + block + visit"), two, pick(conditionb = 1)),
  "crossover adjusted_level" = mixed(f("value ~ condition + block + visit + dev + mid"), two, pick(conditionb = 1)),
  "crossover covariates" = mixed(f("rise ~ condition + block + visit + age + site"), two, pick(conditionb = 1)),
  "crossover total" = mixed(f("value ~ condition + block + visit"), two, pick(conditionb = 1)),
  "crossover baseline" = mixed(bl ~ condition + visit + (1|participant), base, pick(conditionb = 1)),
  "williams response" = mixed(f("rise ~ condition + block + visit"), three, pick(conditionb = 1, conditionc = -1)),
  "factorial interaction" = mixed(f("rise ~ condition + block + visit"), four,
                                  pick(conditionb = -1, conditionc = -1, conditiond = 1)),
  "incomplete response" = mixed(f("rise ~ condition + block + visit"), part, pick(conditionb = 1)),
  "single response" = mixed(f("rise ~ block + visit"), one, mean_of_arm),
  "parallel response" = welch(rise ~ condition, person),
  "parallel total" = welch(value ~ condition, person)
)
write_json(gold, "gold.json", digits = 15, auto_unbox = TRUE, pretty = TRUE)
