-- The ancestor of an H3 cell at a coarser resolution, by bit arithmetic: bits 52 to 55 hold the
-- resolution, unused digits of 3 bits are 7.
create or replace macro cell_parent(cell, resolution) as
    (
        (cell & 18379190079298994175::ubigint)
        | (resolution::ubigint << 52)
        | ((1::ubigint << (3 * (15 - resolution))) - 1)
    )::ubigint;

-- The ends of the Wilson interval at 95 % of a rate of `successes` in `eligible`; (0, 1) of none.
create or replace macro wilson_low(successes, eligible) as
    if(successes = 0, 0.0, (successes + 1.920729440648 - 1.959964 * sqrt(
        successes * (eligible - successes)::double / greatest(eligible, 1) + 0.960364720324
    )) / (eligible + 3.841458881296));

-- The upper end of that interval.
create or replace macro wilson_high(successes, eligible) as
    if(successes = eligible, 1.0, (successes + 1.920729440648 + 1.959964 * sqrt(
        successes * (eligible - successes)::double / greatest(eligible, 1) + 0.960364720324
    )) / (eligible + 3.841458881296));

-- The cells of a feed's study area that touch a cell, in order.
create or replace macro cell_neighbors(of_feed, of_cell) as
    (select neighbors from gold.cells where feed = of_feed and cell = of_cell);

-- A cell and its neighbours, a row each.
create or replace macro cell_disk(of_feed, of_cell) as table
    select of_cell::ubigint as cell
    union all
    select unnest(neighbors) from gold.cells where feed = of_feed and cell = of_cell;

-- Every cell of the study area with its rate in a month, also where nothing happened in it or beside
-- it: there counts are 0, the interval is (0, 1) and the shrunken rates are the mean of the prior.
create or replace macro cell_months_of(of_feed, of_month, of_resolution, of_category) as table
    with months as (
        from gold.cell_months where feed = of_feed and month = of_month
            and resolution = of_resolution and category = of_category
    ), priors as (
        select any_value(prior_mean) as prior_mean, any_value(prior_strength) as prior_strength
        from months
    )
    select c.cell, c.label, coalesce(records, 0) as records, coalesce(eligible, 0) as eligible,
        coalesce(successes, 0) as successes, rate, coalesce(rate_low, 0) as rate_low,
        coalesce(rate_high, 1) as rate_high,
        coalesce(rate_eb, p.prior_mean) as rate_eb, p.prior_mean, p.prior_strength,
        coalesce(rate_smoothed, p.prior_mean) as rate_smoothed,
        coalesce(pooled_records, 0) as pooled_records, coalesce(pooled_n, 0) as pooled_n,
        coalesce(pooled_k, 0) as pooled_k, coalesce(rate_pooled, p.prior_mean) as rate_pooled,
        coalesce(is_low_confidence, true) as is_low_confidence
    from gold.cells as c left join months using (cell), priors as p
    where c.feed = of_feed and c.resolution = of_resolution;

-- The rates of a day at any resolution, as gold.cell_day_rates has them at 6 to 8: at 9 and 10 a
-- day's row is mostly one record, and is computed here on request.
create or replace macro cell_day_rates_of(of_feed, of_day, of_resolution) as table
    with counts as (
        select cell, category, records, eligible, successes from gold.cell_days
        where feed = of_feed and day = of_day and resolution = of_resolution
    ), own as (
        from counts
        union all
        select cell, 'all', sum(records)::bigint, sum(eligible)::bigint, sum(successes)::bigint
        from counts group by cell
    ), near as (
        select cell, cell as beside from own
        union
        select unnest(neighbors), cell from gold.cells
        where feed = of_feed and resolution = of_resolution
            and cell in (select cell from own)
    ), pooled as (
        select near.cell, category, sum(records)::bigint as pooled_records,
            sum(eligible)::bigint as pooled_n, sum(successes)::bigint as pooled_k
        from near join own on own.cell = near.beside group by all
    ), means as (
        select category, sum(successes) / nullif(sum(eligible), 0) as m,
            sum(eligible)::double as total, count(*) filter (eligible > 0) as cells
        from own group by category
    ), moments as (
        select category, any_value(m) as m, any_value(m * (1 - m)) as v,
            (sum(eligible * (successes / eligible - m) ** 2) filter (eligible > 0)
                - any_value((cells - 1) * m * (1 - m)))
            / nullif(sum((eligible - 1) * (1 - eligible / total)) filter (eligible > 0), 0) as a
        from own join means using (category) group by category
    ), priors as (
        select category, m as prior_mean,
            case when a > 0 and v > 0 then greatest((v - a) / a, 0) end as prior_strength
        from moments
    )
    select pooled.cell, pooled.category, coalesce(records, 0) as records,
        coalesce(eligible, 0) as eligible, coalesce(successes, 0) as successes,
        successes / nullif(eligible, 0) as rate,
        wilson_low(coalesce(successes, 0), coalesce(eligible, 0)) as rate_low,
        wilson_high(coalesce(successes, 0), coalesce(eligible, 0)) as rate_high,
        case when prior_strength is null then prior_mean
            else coalesce((coalesce(successes, 0) + prior_strength * prior_mean)
                / nullif(coalesce(eligible, 0) + prior_strength, 0), prior_mean) end as rate_eb,
        prior_mean, prior_strength,
        (coalesce(successes, 0) + 5 * prior_mean) / (coalesce(eligible, 0) + 5) as rate_smoothed,
        pooled_records, pooled_n, pooled_k,
        case when prior_strength is null then prior_mean
            else coalesce((pooled_k + prior_strength * prior_mean)
                / nullif(pooled_n + prior_strength, 0), prior_mean) end as rate_pooled,
        wilson_high(coalesce(successes, 0), coalesce(eligible, 0))
            - wilson_low(coalesce(successes, 0), coalesce(eligible, 0)) > 0.3 as is_low_confidence
    from pooled join priors using (category) left join own using (cell, category);
