-- The matched pairs that a month's page shows: one row per pair. Each neighbourhood has its turn,
-- so that all show the same number of cases as far as they have them; a hash of the id decides
-- which, and so nothing that could be of interest does.
with pairs as (
    from causal.matched_pairs
    where feed = $feed and month = $month and match_rank <= $most_controls
), turns as (
    select record_id,
        row_number() over (partition by neighborhood order by md5(record_id), record_id) as turn
    from (select distinct neighborhood, record_id from pairs)
), chosen as (
    from turns order by turn, md5(record_id), record_id limit $most_cases
)
select pairs.*, turn
from pairs join chosen using (record_id)
order by turn, md5(record_id), record_id, match_rank, control_id
