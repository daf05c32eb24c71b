-- Convenience views of the published file. Each begins with a comment that the file keeps.

-- Requests that ask for work: administrative calls left out. Young days have closed only their quick
-- ones: compare hours over days old enough, with the share still open beside them.
create or replace view requests as
from silver.requests where not is_administrative;

-- Requests that ask for work and were not closed when last observed, with their age then, in hours.
create or replace view open_requests as
select *, date_diff('minute', opened_at_utc, observed_until) / 60 as hours_open
from silver.requests
where not is_administrative and hours_to_close_reason in ('open', 'closed_after_observed');

-- Reported crimes.
create or replace view incidents as
from silver.incidents;

-- Best known weather of each city-local day.
create or replace view weather as
from silver.weather_days;

-- Records, points and rows set aside, by feed and day; is_sample says the records are made up.
create or replace view records_per_day as
with counted as (
    select feed, day, count(*) as records, count(cell) as with_point, 0 as set_aside,
        bool_or(origin = 'sample') as is_sample
    from silver.requests group by feed, day
    union all
    select feed, day, count(*), count(cell), 0, bool_or(origin = 'sample')
    from silver.incidents group by feed, day
    union all
    select feed, day, 0, 0, count(*), null from silver.rejected_records group by feed, day
)
select feed, day, sum(records)::bigint as records, sum(with_point)::bigint as with_point,
    sum(set_aside)::bigint as set_aside, bool_or(is_sample) as is_sample
from counted group by feed, day;

-- Rows set aside, by feed and reason.
create or replace view set_aside as
select feed, reason, count(*) as records, min(day) as first_day, max(day) as last_day
from silver.rejected_records group by feed, reason;

-- Records withdrawn by the portal or moved to another day, by feed.
create or replace view withdrawals as
select feed, count(*) as records, count(moved_to_day) as moved, max(gone_at) as newest
from bronze.withdrawn_records group by feed;

-- How far each feed reaches, by its books: newest_day is the newest local day that the portal was
-- asked for, and when (UTC); missing_days between the oldest and the newest were never made.
create or replace view freshness as
select feed, max(day) filter (asked_at is not null) as newest_day, count(*) as days_held,
    min(day) as oldest_day, date_diff('day', min(day), max(day)) + 1 - count(*) as missing_days,
    arg_max(asked_at, day) filter (asked_at is not null) as newest_asked_at
from meta.slices group by feed;

-- Cells that are hot or cold against their trailing year, with what people call them; those above
-- q = 0.10 are left out. ring_records and ring_expected are of the cell and its neighbours.
create or replace view hot_spots as
select h.*, c.label, c.latitude, c.longitude
from gold.hotspots as h left join gold.cells as c using (feed, resolution, cell)
where null_model = 'baseline' and class <> 'none';

-- Days that were unusual and that the portal has told in full, with what people call the cell; the
-- whole city has none.
create or replace view anomalies as
select a.*, c.label
from gold.anomalies as a left join gold.cells as c using (feed, resolution, cell)
where is_anomaly and not is_provisional;

-- Forecasts of the newest day of issue of each feed, with what people call the cell.
create or replace view next_week as
select f.*, c.label
from gold.forecasts as f left join gold.cells as c using (feed, resolution, cell)
qualify day = max(day) over (partition by feed);
