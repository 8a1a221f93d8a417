# Fits what the contrasts of a study show, from its blocks, sessions and declared design alone: no formula is given.
# Called as: Rscript compare_with_r.R folder, which holds question.json, blocks.tsv and sessions.tsv; writes answers.json.
# Needs lme4, lmerTest, pbkrtest and jsonlite. Labels are codes, so that none looks like a number or needs quotes.
suppressPackageStartupMessages({library(lmerTest); library(jsonlite)})
folder <- commandArgs(trailingOnly = TRUE)[1]
q <- fromJSON(file.path(folder, "question.json"), simplifyVector = FALSE)
covariates <- unlist(q$adjust_for)
texts <- c("participant", "session", "condition", "block", "phase", "excluded", unlist(q$factors))
read <- function(name) {
  path <- file.path(folder, name)
  columns <- strsplit(readLines(path, 1), "\t")[[1]]
  kinds <- setNames(rep("numeric", length(columns)), columns)
  kinds[columns %in% texts] <- "character"
  t <- read.delim(path, colClasses = kinds, na.strings = "n/a", quote = "")
  for (column in unlist(q$factors)) if (column %in% columns) t[[column]] <- factor(t[[column]])
  t$scan <- paste(t$participant, t$session)
  t
}
blocks <- read("blocks.tsv")
sessions <- read("sessions.tsv")
over_visits <- length(q$baseline_visits) > 0
within <- q$design == "crossover"

# What was given at the visit before, in every session of the tables.
given <- setNames(sessions$condition, paste(sessions$participant, sessions$visit))
before <- given[paste(sessions$participant, sessions$visit - 1)]
after <- character(0)
for (code in unlist(q$conditions)[-1]) {
  column <- paste0("after_", code)
  sessions[[column]] <- ifelse(sessions$visit == 1, 0, as.numeric(before == code))
  after <- c(after, column)
}

# Where the baseline lies, by the ends of its bins and the doses of the sessions (s).
dose <- sessions$dose_s[!over_visits | sessions$visit %in% unlist(q$baseline_visits)]
precedes <- outer(ifelse(is.na(dose), Inf, dose), unlist(q$baseline_ends_s), ">=")
place <- if (all(precedes)) "before" else if (all(apply(precedes, 1, any)) && !over_visits) "both" else "after"

own_mean <- function(x, by) ave(x, by, FUN = mean)
centred <- function(x, by) x - mean(x[!duplicated(by)])
with_baseline <- function(s) {
  own <- own_mean(s$bl, s$participant)
  s$dev <- s$bl - own
  s$mid <- centred(own, s$participant)
  s
}

# Blocks and sessions of an outcome: value is what is compared.
arranged <- function(y, adjust = covariates) {
  t <- blocks[blocks$excluded == "false" & !is.na(blocks[[y]]), ]
  t$value <- t[[y]]
  rest <- t$phase == "baseline"
  if (!over_visits) {
    late <- rest & !is.na(t$dose_s) & t$onset_s + t$duration_s > t$dose_s
    if (q$estimand == "response") rest <- rest & (late | !t$scan %in% t$scan[late])
    else if (place == "both") rest <- rest & !late
  }
  s <- sessions[sessions$scan %in% t$scan[t$phase != "baseline"], ]
  level <- tapply(t$value[t$phase != "baseline"], t$scan[t$phase != "baseline"], mean)
  s$y <- as.vector(level[s$scan])
  bl <- tapply(t$value[rest], t$scan[rest], mean)
  if (over_visits) {
    person <- t$participant[match(names(bl), t$scan)]
    s$bl <- as.vector(tapply(bl, person, mean)[s$participant])
  } else s$bl <- as.vector(bl[s$scan])
  any_baseline <- any(rest)
  change <- any_baseline && (q$estimand == "response" || (q$estimand == "total" && place != "after"))
  adjusts <- any_baseline && q$estimand == "adjusted_level"
  complete <- rep(TRUE, nrow(s))
  for (column in adjust) complete <- complete & !is.na(s[[column]])
  if (change || adjusts) complete <- complete & !is.na(s$bl)
  s <- s[complete, ]
  if (any_baseline) s <- with_baseline(s)
  s$value <- if (change) s$y - s$bl else s$y
  t <- t[t$phase != "baseline" & t$scan %in% s$scan, ]
  at <- match(t$scan, s$scan)
  for (column in setdiff(names(s), names(t))) t[[column]] <- s[[column]][at]
  if (change) t$value <- t$value - t$bl
  list(blocks = t, sessions = s, adjusts = adjusts)
}
every_block <- function(y) {
  t <- blocks[blocks$excluded == "false" & !is.na(blocks[[y]]), ]
  t$value <- t[[y]]
  t
}
scores <- function(adjust = covariates) {  # change of a score from before to after, adjusted for the score before
  s <- sessions
  s$bl <- s$score_before
  if (over_visits) {
    early <- s$visit %in% unlist(q$baseline_visits)
    s$bl <- as.vector(tapply(s$bl[early], s$participant[early], mean, na.rm = TRUE)[s$participant])
    s <- s[!early, ]
  }
  s$value <- s$score_after - s$bl
  for (column in c("value", adjust)) s <- s[!is.na(s[[column]]), ]
  s <- with_baseline(s)
  list(blocks = transform(s, block = "session"), sessions = s, adjusts = several(s$bl), scores = TRUE)
}

several <- function(x) length(unique(x)) > 1
repeated <- function(t, ...) any(duplicated(interaction(..., drop = TRUE)))
twice <- function(t) {
  scans <- t[!duplicated(t$scan), ]
  any(duplicated(paste(scans$participant, scans$condition)))
}
prepared <- function(t) {
  for (column in c("condition", "block", "visit", "phase")) if (column %in% names(t)) t[[column]] <- factor(t[[column]])
  droplevels(t)
}
cells <- function(estimate, se, df) {
  t <- estimate / se
  c(estimate = estimate, se = se, df = df, t = t, p = 2 * pt(-abs(t), df))
}
control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10, maxfun = 1e5), calc.derivs = FALSE)
mixed <- function(t, fixed, groups) {
  t <- prepared(t)
  fixed <- if (length(fixed)) paste(fixed, collapse = " + ") else "1"
  text <- paste("value ~", fixed, paste0("+ (1|", groups, ")", collapse = " "))
  list(fit = suppressMessages(lmer(as.formula(text), t, control = control)), fixed = as.formula(paste("~", fixed)),
       table = t)
}
# Mean over every combination of the levels of factors, numbers at their mean or at 0; what is given is fixed.
mean_at <- function(model, given = list(), numbers = mean) {
  t <- model$table
  names <- all.vars(model$fixed)
  grid <- lapply(names, function(v) {
    if (v %in% names(given)) given[[v]] else if (is.factor(t[[v]])) levels(t[[v]]) else numbers(t[[v]])
  })
  grid <- if (length(names)) expand.grid(setNames(grid, names), stringsAsFactors = FALSE) else data.frame(row.names = 1)
  for (v in names) if (is.factor(t[[v]])) grid[[v]] <- factor(grid[[v]], levels = levels(t[[v]]))
  colMeans(model.matrix(model$fixed, grid))[names(fixef(model$fit))]
}
of_conditions <- function(model, weights, given = list()) {
  if (!length(weights)) return(mean_at(model, given))
  Reduce(`+`, lapply(names(weights), function(c) weights[[c]] * mean_at(model, c(given, list(condition = c)))))
}
tested <- function(model, weights, ddf = "Kenward-Roger") {
  found <- contest1D(model$fit, weights, ddf = ddf)
  cells(found$Estimate, found[["Std. Error"]], found$df)
}

# The mixed model of a design for the rows there are.
terms_of <- function(r, carry, extra = covariates, session = TRUE) {
  t <- r$blocks
  fixed <- if (q$design == "single_arm") character(0) else "condition"
  if (several(t$block)) fixed <- c(fixed, "block")
  if ((q$design != "parallel" || over_visits) && several(t$visit))
    fixed <- c(fixed, if (over_visits && length(fixed) && "condition" %in% fixed) "condition * visit" else "visit")
  varies <- function(part) any(abs(r$sessions[[part]]) > 1e-9 * max(abs(r$sessions$bl), 1))
  if (r$adjusts) fixed <- c(fixed, if (within && varies("dev")) "dev", if (varies("mid")) "mid")
  groups <- "participant"
  if (session && within && twice(t)) groups <- c(groups, "participant:condition")
  if (session && any(duplicated(t$participant[!duplicated(t$scan)])) && any(duplicated(t$scan)))
    groups <- c(groups, "scan")
  list(fixed = c(fixed, if (carry) after, extra), groups = groups)
}
of_blocks <- function(r, carry = q$carry_over, extra = covariates, session = TRUE) {
  terms <- terms_of(r, carry && within, extra, session)
  mixed(r$blocks, terms$fixed, terms$groups)
}

# Least squares of a value for each participant, a variance for each condition: E[RSS_g] = sum_h B_gh s_h^2.
own_variances <- function(x, y, group, w) {
  hat <- x %*% solve(crossprod(x)) %*% t(x)
  rest <- diag(length(y)) - hat
  residual <- rest %*% y
  groups <- unique(group)
  b <- sapply(groups, function(h) sapply(groups, function(g) sum(rest[group == g, group == h]^2)))
  rss <- sapply(groups, function(g) sum(residual[group == g]^2))
  df <- sapply(groups, function(g) sum(diag(rest)[group == g]))
  variance <- solve(matrix(b, length(groups)), rss)
  variance <- ifelse(variance > 0, variance, rss / df)
  a <- x %*% solve(crossprod(x)) %*% w
  parts <- variance * sapply(groups, function(g) sum(a[group == g]^2))
  cells(sum(a * y), sqrt(sum(parts)), sum(parts)^2 / sum(parts^2 / df))
}
numbers_of <- function(s, names) {  # columns of covariates, numbers at their mean
  columns <- lapply(names, function(v) {
    if (is.factor(s[[v]])) model.matrix(~ x, data.frame(x = droplevels(s[[v]])))[, -1, drop = FALSE]
    else s[[v]] - mean(s[[v]])
  })
  do.call(cbind, columns)
}
indicators <- function(x) sapply(sort(unique(x)), function(level) as.numeric(x == level))
of_people <- function(s, weights, names) {
  if (!length(weights)) {
    own <- tapply(s$value, s$participant, mean)
    return(cells(mean(own), sd(own) / sqrt(length(own)), length(own) - 1))
  }
  x <- cbind(indicators(s$condition), numbers_of(s, names))
  codes <- sort(unique(s$condition))
  w <- c(sapply(codes, function(c) if (is.null(weights[[c]])) 0 else weights[[c]]), rep(0, ncol(x) - length(codes)))
  own_variances(x, s$value, s$condition, w)
}
participants <- function(s, names) {  # one row each: means of numbers
  for (column in c("value", names)) if (is.numeric(s[[column]])) s[[column]] <- own_mean(s[[column]], s$participant)
  s <- s[order(s$participant, s$visit), ]
  s[!duplicated(s$participant), ]
}
adjusting <- function(r, extra = covariates) c(if (r$adjusts) "bl", extra)
# Groups over several visits: each condition by itself, then Satterthwaite.
apart <- function(r, weights) {
  s <- r$sessions[r$sessions$condition %in% names(weights), ]
  s$block <- "session"
  names <- covariates[!sapply(covariates, function(v) is.factor(s[[v]]))]
  if (r$adjusts) s$mid <- centred(own_mean(s$bl, s$participant), s$participant)
  for (v in names) s[[v]] <- s[[v]] - mean(tapply(s[[v]], s$participant, mean))
  fixed <- c(if (several(s$visit)) "visit", if (r$adjusts) "mid", covariates)
  found <- lapply(names(weights), function(c) {
    model <- mixed(s[s$condition == c, ], fixed, "participant")
    tested(model, mean_at(model, numbers = function(x) 0))
  })
  w <- unlist(weights)
  v <- w^2 * sapply(found, function(f) f[["se"]]^2)
  df <- sum(v)^2 / sum(v^2 / sapply(found, function(f) f[["df"]]))
  cells(sum(w * sapply(found, function(f) f[["estimate"]])), sqrt(sum(v)), df)
}
primary <- function(r, weights, ddf = "Kenward-Roger", extra = covariates) {
  s <- r$sessions
  if (q$design == "single_arm" && isTRUE(r$scores)) return(of_people(s, weights, character(0)))
  if (q$design == "parallel" && any(duplicated(s$participant))) return(apart(r, weights))
  if (q$design == "parallel" || !any(duplicated(r$blocks$participant))) return(of_people(s, weights, adjusting(r, extra)))
  model <- of_blocks(r, extra = extra)
  tested(model, of_conditions(model, weights), ddf)
}
# Sessions within participants, where a condition was given twice the mean of its sessions.
pairs <- function(r, weights) {
  s <- r$sessions
  if (!within) return(if (q$design == "single_arm") of_people(s, weights, character(0)) else
                      of_people(participants(s, adjusting(r)), weights, adjusting(r)))
  count <- tapply(s$condition, s$participant, function(c) length(unique(c)))[s$participant]
  all <- length(q$conditions)
  s <- s[if (any(count == all)) count == all else count > 1, ]
  x <- cbind(if (several(s$visit)) model.matrix(~ factor(visit), s)[, -1, drop = FALSE],
             numbers_of(s, c(adjusting(r), if (q$carry_over) after)))
  cell <- paste(s$participant, s$condition)
  first <- s[!duplicated(cell), ]
  mean_of <- function(v) as.vector(tapply(v, cell, mean)[unique(cell)])
  y <- mean_of(s$value)
  x <- if (is.null(x)) matrix(0, length(y), 1) else apply(x, 2, mean_of)
  fit <- lm(y ~ 0 + factor(first$participant) + factor(first$condition) + x)
  codes <- sort(unique(s$condition))[-1]
  found <- summary(fit)$coefficients
  at <- paste0("factor(first$condition)", codes)
  w <- sapply(codes, function(c) if (is.null(weights[[c]])) 0 else weights[[c]])
  cells(sum(w * found[at, 1]), sqrt(drop(w %*% vcov(fit)[at, at] %*% w)), fit$df.residual)
}
baselines <- function(r, weights) {
  s <- r$sessions[!is.na(r$sessions$bl), ]
  s$value <- s$bl
  if (!within) return(of_people(if (over_visits) participants(s, covariates) else s, weights, covariates))
  primary(list(blocks = transform(s, block = "baseline"), sessions = s, adjusts = FALSE), weights)
}
phases <- function(y, weights) {
  t <- every_block(y)
  groups <- c("participant", "scan", "participant:phase", if (twice(t)) "participant:condition")
  if (any(duplicated(paste(t$scan, t$phase)))) groups <- c(groups, "scan:phase")
  model <- mixed(t, c("condition * phase", if (several(t$visit)) "visit"), groups)
  tested(model, of_conditions(model, weights, list(phase = "infusion")) -
                of_conditions(model, weights, list(phase = "baseline")))
}
independent <- function(y, weights) {
  model <- mixed(every_block(y), "condition * block", "participant")
  tested(model, of_conditions(model, weights), "Satterthwaite")
}
moderated <- function(r, asked) {
  weights <- asked$weights
  column <- asked$moderator
  for (name in c("blocks", "sessions")) r[[name]] <- r[[name]][!is.na(r[[name]][[column]]), ]
  extra <- setdiff(covariates, column)
  s <- r$sessions
  if (r$adjusts) s$bl <- s$bl - mean(s$bl)
  grouped <- is.factor(s[[column]])
  if ((q$design == "parallel" || !any(duplicated(r$blocks$participant))) && !any(duplicated(s$participant))) {
    if (!length(weights)) weights <- setNames(list(1), s$condition[1])
    names <- c(if (r$adjusts && q$design == "parallel") "bl", extra)
    levels <- if (grouped) sort(unique(as.character(s[[column]]))) else NULL
    columns <- list(); w <- c()
    for (c in sort(unique(s$condition))) {
      own <- as.numeric(s$condition == c)
      weight <- if (is.null(weights[[c]])) 0 else weights[[c]]
      if (grouped) for (level in levels) {
        columns <- c(columns, list(own * (s[[column]] == level)))
        w <- c(w, weight * ((level == asked$level) - (level %in% asked$reference)))
      } else {
        columns <- c(columns, list(own, own * (s[[column]] - mean(s[[column]]))))
        w <- c(w, 0, weight)
      }
    }
    filled <- sapply(columns, function(x) any(x != 0))
    x <- cbind(do.call(cbind, columns[filled]), numbers_of(s, names))
    return(own_variances(x, s$value, s$condition, c(w[filled], rep(0, ncol(x) - sum(filled)))))
  }
  changes <- !grouped && any(tapply(s[[column]], s$participant, function(x) length(unique(x))) > 1)
  named <- if (changes) c("m_within", "m_between") else "m"
  if (!grouped) {
    own <- own_mean(s[[column]], s$participant)
    s$m <- centred(s[[column]], s$participant)
    s$m_within <- s[[column]] - own
    s$m_between <- centred(own, s$participant)
    for (v in named) r$blocks[[v]] <- s[[v]][match(r$blocks$scan, s$scan)]
  } else named <- column
  if (q$design != "single_arm") named <- c(named, paste0("condition:", named))
  model <- of_blocks(r, extra = c(extra, named))
  if (grouped) {
    at <- function(level) of_conditions(model, weights, setNames(list(level), column))
    return(tested(model, if (is.null(asked$reference)) at(asked$level) else at(asked$level) - at(asked$reference)))
  }
  v <- if (!changes) "m" else if (asked$part == "within") "m_within" else "m_between"
  at <- function(x) of_conditions(model, weights, setNames(list(x), v))
  tested(model, at(1) - at(0))
}
carried <- function(r, asked) {
  model <- of_blocks(r, carry = TRUE)
  two <- length(q$conditions) == 2
  s <- r$sessions
  count <- tapply(s$condition, s$participant, function(c) length(unique(c)))
  s <- s[s$participant %in% names(count)[count == length(q$conditions)], ]
  s <- s[order(s$participant, s$visit), ]
  order <- tapply(s$condition, s$participant, paste, collapse = ",")
  if (two && length(unique(order)) == 2) {
    own <- aggregate(value ~ participant, r$sessions[r$sessions$participant %in% names(order), ], mean)
    codes <- sort(unique(as.vector(order[own$participant])))
    own$condition <- as.vector(order[own$participant])
    return(of_people(own, setNames(list(-1, 1), codes), character(0)))
  }
  w <- setNames(numeric(length(fixef(model$fit))), names(fixef(model$fit)))
  w[paste0("after_", asked$after)] <- 1
  tested(model, w)
}

answer <- function(asked) {
  weights <- asked$weights
  r <- if (is.null(asked$y)) scores() else arranged(asked$y)
  if (!is.null(asked$visit)) for (name in c("blocks", "sessions")) r[[name]] <- r[[name]][r[[name]]$visit == asked$visit, ]
  switch(asked$kind,
    primary = primary(r, weights),
    satterthwaite = primary(r, weights, "Satterthwaite"),
    pairs = pairs(r, weights),
    equal = { model <- of_blocks(r); tested(model, of_conditions(model, weights)) },
    unrelated = { model <- of_blocks(r, session = FALSE); tested(model, of_conditions(model, weights), "Satterthwaite") },
    baseline = baselines(r, weights),
    phases = phases(asked$y, weights),
    independent = independent(asked$y, weights),
    moderator = moderated(r, asked),
    other_carry = { model <- of_blocks(r, carry = !q$carry_over); tested(model, of_conditions(model, weights)) },
    carried = carried(r, asked))
}
found <- lapply(q$asked, function(asked) tryCatch(as.list(answer(asked)), error = function(e) list(reason = conditionMessage(e))))
write_json(found, file.path(folder, "answers.json"), digits = 15, auto_unbox = TRUE, na = "null")
