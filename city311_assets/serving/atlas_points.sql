-- The cases of one month's map, as they may leave the house: one row per case that silver still has.
-- Addresses, exact points, notes and the writing in photos are not read here.
with cases as (
    from atlas.projections where feed = $feed and month = $month
), described as (
    -- What photos show comes before what the case itself says.
    select feed, day, record_id, caption, caption_method, caption_model,
        min(described) as first_described, max(severity) as severity
    from atlas.captions semi join cases using (feed, day, record_id)
    where caption is not null
    group by feed, day, record_id, caption, caption_method, caption_model
    qualify rank() over (
        partition by feed, day, record_id order by caption_method = 'case_text'
    ) = 1
), told as (
    select feed, day, record_id, string_agg(caption, ' ' order by first_described) as caption,
        min(caption_method) as caption_method, min(caption_model) as caption_model,
        max(severity)::utinyint as severity
    from described group by feed, day, record_id
), pictures as (
    select feed, day, record_id, url, thumbnail_path
    from atlas.photos semi join cases using (feed, day, record_id)
    where status = 'ok'
    qualify row_number() over (
        partition by feed, day, record_id order by thumbnail_path is null, url
    ) = 1
), placed as (
    from atlas.clusters where feed = $feed and month = $month
)
select record_id, day, x, y, x3, y3, z3, cluster_id, name as cluster,
    coalesce(is_outlier, true) as is_outlier, membership,
    caption, caption_method, severity, category, kind, neighborhood, hours_to_close,
    thumbnail_path as thumbnail,
    case when url ilike 'http://%' or url ilike 'https://%' then url end as photo_url,
    case when record_url ilike 'http://%' or record_url ilike 'https://%' then record_url end
        as record_url,
    origin, cell, nearest_ids, cases.embedding_model, caption_model, observed_until,
    coalesce(is_provisional, false) as is_provisional
from cases
join silver.requests using (feed, day, record_id)
left join placed using (feed, day, record_id)
left join (from atlas.cluster_names where feed = $feed and month = $month)
    using (feed, cluster_id)
left join told using (feed, day, record_id)
left join pictures using (feed, day, record_id)
order by record_id, day
